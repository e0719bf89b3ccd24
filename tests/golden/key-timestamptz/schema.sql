CREATE TABLE t (k timestamptz PRIMARY KEY, v text);
