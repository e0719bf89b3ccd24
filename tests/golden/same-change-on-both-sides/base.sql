INSERT INTO t VALUES (1,'a'),(2,'a'),(3,'a');
