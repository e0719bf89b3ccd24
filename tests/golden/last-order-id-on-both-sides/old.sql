INSERT INTO orders VALUES (101,'o'); SELECT setval('orders_id_seq',101);UPDATE users SET last_order_id = 101 WHERE id = 1;
