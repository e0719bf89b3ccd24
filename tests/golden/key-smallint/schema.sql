CREATE TABLE t (k smallint PRIMARY KEY, v text);
