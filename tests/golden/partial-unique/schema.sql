CREATE TABLE s (id int PRIMARY KEY, user_id int, active bool); CREATE UNIQUE INDEX ON s (user_id) WHERE active;
