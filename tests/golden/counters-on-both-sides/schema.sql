CREATE TABLE posts (id int PRIMARY KEY, likes int NOT NULL);
