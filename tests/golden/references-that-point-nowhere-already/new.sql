INSERT INTO orders VALUES (5,'new');
