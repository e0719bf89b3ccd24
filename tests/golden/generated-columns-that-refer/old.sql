INSERT INTO orders (n) VALUES ('o'),('o2'); INSERT INTO items (id, o) VALUES (1,1),(2,2); INSERT INTO notes VALUES (1,'A1'),(2,'A2');
