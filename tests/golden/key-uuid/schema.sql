CREATE TABLE t (k uuid PRIMARY KEY, v text);
