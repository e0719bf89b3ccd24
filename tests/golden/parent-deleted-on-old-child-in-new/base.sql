INSERT INTO orders VALUES (1,'b'),(2,'b'); INSERT INTO items VALUES (5,1,'x'),(6,2,'x');
