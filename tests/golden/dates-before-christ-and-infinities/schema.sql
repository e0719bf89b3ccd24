CREATE TABLE d (id int PRIMARY KEY, d date, t timestamptz);
