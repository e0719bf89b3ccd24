CREATE TABLE t (id int PRIMARY KEY, v text);CREATE TABLE o (id bigserial PRIMARY KEY, at timestamptz, v text);
