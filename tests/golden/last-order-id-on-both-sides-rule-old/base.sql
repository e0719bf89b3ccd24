INSERT INTO orders SELECT n, 'b' FROM generate_series(1,100) n; SELECT setval('orders_id_seq',100);INSERT INTO users VALUES (1,'Ann',7);
