CREATE TABLE i (id int PRIMARY KEY, d interval);
