CREATE TABLE carts (id serial PRIMARY KEY, v text);
CREATE TABLE orders (id int PRIMARY KEY, cart_id int REFERENCES carts);
