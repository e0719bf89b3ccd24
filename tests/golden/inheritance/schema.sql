CREATE TABLE p (id int PRIMARY KEY, v text); CREATE TABLE c (extra int, PRIMARY KEY (id)) INHERITS (p);
