CREATE TABLE users (id int PRIMARY KEY, name text, mail text); CREATE TABLE posts (id int PRIMARY KEY, user_id int REFERENCES users ON UPDATE CASCADE);
