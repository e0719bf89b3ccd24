INSERT INTO orders VALUES (1,'a');
INSERT INTO events VALUES (1,99,'{"order_id": 98}','x'),(2,1,NULL,'x'),(3,1,NULL,'x');
INSERT INTO comments VALUES (1,'photo',5);
