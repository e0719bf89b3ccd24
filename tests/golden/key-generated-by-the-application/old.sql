INSERT INTO orders VALUES (2,'o');
