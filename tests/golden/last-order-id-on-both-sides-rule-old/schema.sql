CREATE TABLE orders (id bigserial PRIMARY KEY, note text);
CREATE TABLE items (id bigserial PRIMARY KEY, order_id bigint REFERENCES orders, product text);
CREATE TABLE users (id int PRIMARY KEY, name text, last_order_id bigint REFERENCES orders);
