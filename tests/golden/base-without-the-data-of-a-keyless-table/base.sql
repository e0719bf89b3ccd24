INSERT INTO t VALUES (1,'b'); INSERT INTO log VALUES (1,'both'),(2,'gone on new'),(3,'gone on old');
