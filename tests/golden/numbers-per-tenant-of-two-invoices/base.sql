SELECT setval('inv_id_seq',4);
