CREATE TABLE orders (id bigserial PRIMARY KEY, v text);
CREATE TABLE payments (id bigserial PRIMARY KEY, order_id bigint REFERENCES orders, parent_id bigint REFERENCES orders, user_id bigint, note text);
CREATE TABLE users (id bigserial PRIMARY KEY, v text);
