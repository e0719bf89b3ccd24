CREATE SCHEMA "Sales & Co"; CREATE TABLE "Sales & Co"."select" ("Order" bigserial PRIMARY KEY, "from" text, "größe" int, "a""b" text);
CREATE TABLE "Sales & Co"."it'ems" ("Key" int PRIMARY KEY, "Order" bigint REFERENCES "Sales & Co"."select");
