INSERT INTO docs (id, type, title) VALUES (2,'bill','o2'),(3,'bill','o3'); SELECT setval('docs_id_seq',3);
INSERT INTO bills (doc_id, total) VALUES (2,20),(3,30);
