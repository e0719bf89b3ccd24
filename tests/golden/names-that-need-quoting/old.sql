UPDATE "Sales & Co"."select" SET "größe"=2; INSERT INTO "Sales & Co"."select" VALUES (2,'o',1,'x'); INSERT INTO "Sales & Co"."it'ems" VALUES (1,2);
