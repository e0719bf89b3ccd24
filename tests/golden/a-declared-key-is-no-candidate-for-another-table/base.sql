INSERT INTO orders (v) VALUES ('a'), ('b'), ('c');
INSERT INTO users (v) VALUES ('a'), ('b'), ('c');
INSERT INTO payments (order_id) VALUES (1), (1);
