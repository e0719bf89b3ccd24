CREATE TABLE p (id int PRIMARY KEY, f text, l text); CREATE UNIQUE INDEX ON p (lower(f), lower(l));
