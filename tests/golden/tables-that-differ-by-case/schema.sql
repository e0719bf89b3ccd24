CREATE TABLE t (id int PRIMARY KEY, v text); CREATE TABLE "T" (id int PRIMARY KEY, v text);
