CREATE TABLE t (id int PRIMARY KEY, hi int, lo timestamptz);
