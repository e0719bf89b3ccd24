CREATE TABLE users (id bigserial PRIMARY KEY, email text NOT NULL UNIQUE, name text);
CREATE TABLE posts (id int PRIMARY KEY, user_id bigint NOT NULL REFERENCES users);
