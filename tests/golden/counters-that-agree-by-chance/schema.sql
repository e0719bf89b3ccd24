CREATE TABLE posts (id int PRIMARY KEY, likes int NOT NULL, title text);
CREATE TABLE visits (id int PRIMARY KEY, n int NOT NULL, changed timestamptz);
