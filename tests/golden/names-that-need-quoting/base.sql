INSERT INTO "Sales & Co"."select" VALUES (1,'b',1,'x'); SELECT setval('"Sales & Co"."select_Order_seq"',1);
