CREATE TABLE n (id int PRIMARY KEY, x numeric, f double precision, r real);
