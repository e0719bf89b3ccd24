INSERT INTO carts (v) VALUES ('o2'),('o3'); INSERT INTO orders VALUES (1,1),(2,2),(3,3);
