INSERT INTO orders VALUES (1,'o'); INSERT INTO carts VALUES (1,'{1,9}'),(2,'{9}');
