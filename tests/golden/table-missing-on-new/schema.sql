CREATE TABLE t (id int PRIMARY KEY, v text);CREATE TABLE gone (id int PRIMARY KEY, v text);
