CREATE TABLE b (id int PRIMARY KEY, during int4range, EXCLUDE USING gist (during WITH &&));
