CREATE DOMAIN code AS text CHECK (VALUE ~ '^[A-Z][0-9]$');CREATE TABLE t (k code PRIMARY KEY, v text);
