CREATE TABLE users (id int PRIMARY KEY, email varchar(20) NOT NULL UNIQUE, n int UNIQUE);
