CREATE TYPE mood AS ENUM ('sad', 'ok', 'fine');
CREATE TABLE t (id int PRIMARY KEY, m mood UNIQUE, v varchar(20), n bigint, p numeric(10,3));
CREATE TABLE child (id int PRIMARY KEY, t_id int REFERENCES t, m mood REFERENCES t (m));
