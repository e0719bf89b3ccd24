CREATE TABLE users (id bigserial PRIMARY KEY, email text NOT NULL UNIQUE, name text);
CREATE TABLE settings (id bigserial PRIMARY KEY, user_id bigint NOT NULL UNIQUE REFERENCES users, theme text);
