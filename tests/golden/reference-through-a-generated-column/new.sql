INSERT INTO docs (id, type, title) VALUES (3,'bill','n3'); SELECT setval('docs_id_seq',3);
INSERT INTO bills (doc_id, total) VALUES (3,99);
