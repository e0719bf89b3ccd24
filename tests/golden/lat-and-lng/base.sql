INSERT INTO s VALUES (1,1,1,'a'),(2,1,1,'a'),(3,1,1,'a');
