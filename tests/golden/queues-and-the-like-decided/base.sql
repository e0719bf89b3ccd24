INSERT INTO jobs VALUES (1,'b','b'),(2,'b','b'); INSERT INTO audit VALUES (1,'b'); SELECT setval('jobs_id_seq',2), setval('audit_id_seq',1);
