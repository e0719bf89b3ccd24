INSERT INTO orders SELECT n, 'b' FROM generate_series(1,100) n; SELECT setval('orders_id_seq',100);
