INSERT INTO orders VALUES (101,'o'),(160,'o2');
