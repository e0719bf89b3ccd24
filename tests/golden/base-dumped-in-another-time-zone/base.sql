INSERT INTO t VALUES (1,'b'),(2,'b'); INSERT INTO o VALUES (1,'2025-01-01 12:00+00','b'); SELECT setval('o_id_seq',1);
