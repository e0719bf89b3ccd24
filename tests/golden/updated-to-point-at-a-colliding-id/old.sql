INSERT INTO orders VALUES (101,'o'); SELECT setval('orders_id_seq',101);UPDATE items SET order_id=101;
