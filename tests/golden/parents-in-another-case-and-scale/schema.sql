CREATE EXTENSION citext;
CREATE TABLE tag (name citext PRIMARY KEY);
CREATE TABLE post (id int PRIMARY KEY, tag citext REFERENCES tag);
CREATE TABLE a (id numeric PRIMARY KEY);
CREATE TABLE b (id int PRIMARY KEY, a numeric REFERENCES a);
