INSERT INTO orders (n) VALUES ('n');
