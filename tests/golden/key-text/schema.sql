CREATE TABLE t (k text PRIMARY KEY, v text);
