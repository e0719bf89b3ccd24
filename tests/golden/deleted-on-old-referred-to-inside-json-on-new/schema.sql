CREATE TABLE orders (id bigserial PRIMARY KEY, v text);
CREATE TABLE events (id int PRIMARY KEY, kind text, payload jsonb);
