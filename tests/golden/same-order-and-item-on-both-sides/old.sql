INSERT INTO orders VALUES (101,'x'); SELECT setval('orders_id_seq',101); INSERT INTO items VALUES (1,101,'tea'); SELECT setval('items_id_seq',1);
