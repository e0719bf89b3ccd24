CREATE TABLE t (k numeric PRIMARY KEY, v text);
