UPDATE "Sales & Co"."select" SET "a""b"='n'; INSERT INTO "Sales & Co"."select" VALUES (2,'n',1,'x');
