CREATE TABLE r (id int PRIMARY KEY, lo int, hi int, n text, CHECK (lo <= hi));
