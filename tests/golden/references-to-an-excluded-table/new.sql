INSERT INTO carts (v) VALUES ('n2');
