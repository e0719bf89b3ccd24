CREATE TABLE orders (id serial PRIMARY KEY, n text, code text GENERATED ALWAYS AS ('A' || id::text) STORED UNIQUE);
CREATE TABLE items (id int PRIMARY KEY, o int, order_id int GENERATED ALWAYS AS (o) STORED REFERENCES orders);
CREATE TABLE notes (id int PRIMARY KEY, code text REFERENCES orders (code));
