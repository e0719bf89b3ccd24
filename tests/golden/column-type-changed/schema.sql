CREATE TABLE t (id int PRIMARY KEY, at timestamp, n int, v text);
