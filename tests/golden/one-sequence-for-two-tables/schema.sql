CREATE SEQUENCE ids; CREATE TABLE posts (id bigint PRIMARY KEY DEFAULT nextval('ids'), t text);
CREATE TABLE pages (id bigint PRIMARY KEY DEFAULT nextval('ids'), t text); CREATE TABLE likes (id int PRIMARY KEY, target_id bigint);
