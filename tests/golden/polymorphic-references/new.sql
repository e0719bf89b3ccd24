INSERT INTO orders VALUES (1,'n'); INSERT INTO photos VALUES (1,'n');
