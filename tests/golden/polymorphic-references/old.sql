INSERT INTO orders VALUES (1,'o'); INSERT INTO photos VALUES (1,'o'); INSERT INTO comments VALUES (1,'Order',1),(2,'Photo',1),(3,'Video',1);
