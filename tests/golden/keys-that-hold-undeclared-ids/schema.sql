CREATE TABLE orders (id bigserial PRIMARY KEY, v text);
CREATE TABLE items (order_id bigint, line int, v text, PRIMARY KEY (order_id, line));
CREATE TABLE order_notes (order_id bigint PRIMARY KEY, v text);
