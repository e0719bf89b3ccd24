INSERT INTO orders VALUES (101,'n'); SELECT setval('orders_id_seq',101);
