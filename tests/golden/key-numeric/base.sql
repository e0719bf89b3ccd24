INSERT INTO t VALUES (1.10,'b'),(2,'b'),(3,'b');
