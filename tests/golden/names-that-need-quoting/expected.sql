SELECT s."from"='o' FROM "Sales & Co"."it'ems" i JOIN "Sales & Co"."select" s USING ("Order"); SELECT "größe"=2 AND "a""b"='n' FROM "Sales & Co"."select" WHERE "Order"=1;
