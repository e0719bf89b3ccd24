INSERT INTO docs (type, title) VALUES ('bill','base'); INSERT INTO bills (doc_id, total) VALUES (1,5);
