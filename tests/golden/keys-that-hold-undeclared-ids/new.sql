INSERT INTO orders (v) VALUES ('new');
