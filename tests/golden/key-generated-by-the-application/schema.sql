CREATE TABLE orders (id bigint PRIMARY KEY, v text);
