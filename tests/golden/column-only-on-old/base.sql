INSERT INTO t VALUES (1,'b','1'),(2,'b','1'),(3,'b','1');
