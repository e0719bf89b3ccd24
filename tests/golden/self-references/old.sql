INSERT INTO n VALUES (2,1,'o'),(3,2,'o'),(4,4,'o'); SELECT setval('n_id_seq',4);
