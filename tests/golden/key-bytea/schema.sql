CREATE TABLE t (k bytea PRIMARY KEY, v text);
