CREATE TABLE posts (id int PRIMARY KEY, likes int NOT NULL, money numeric(10,2), f double precision);
