INSERT INTO orders (v) VALUES ('a');
INSERT INTO items VALUES (1, 1, 'a');
