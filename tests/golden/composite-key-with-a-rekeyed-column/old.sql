INSERT INTO orders VALUES (101,'x'); SELECT setval('orders_id_seq',101);INSERT INTO lines VALUES (101,1,'tea'); INSERT INTO remarks VALUES (1,101,1);
