CREATE TABLE orders (id bigserial PRIMARY KEY, v text); CREATE TABLE carts (id int PRIMARY KEY, order_ids bigint[]);
