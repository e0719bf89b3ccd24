INSERT INTO n VALUES (1,NULL,'b'); SELECT setval('n_id_seq',1);
