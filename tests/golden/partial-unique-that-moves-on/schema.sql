CREATE TABLE addr (id int PRIMARY KEY, user_id int NOT NULL, is_default bool NOT NULL, note text);
CREATE UNIQUE INDEX ON addr (user_id) WHERE is_default;
CREATE TABLE mail (id int PRIMARY KEY, address text, deleted_at timestamptz);
CREATE UNIQUE INDEX ON mail (address) WHERE deleted_at IS NULL;
