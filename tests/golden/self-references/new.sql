INSERT INTO n VALUES (2,1,'n'),(3,1,'n'); SELECT setval('n_id_seq',3);
