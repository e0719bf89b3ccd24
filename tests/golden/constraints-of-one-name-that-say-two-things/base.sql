INSERT INTO t VALUES (1, NULL, NULL, 5, 10, 1);
INSERT INTO b VALUES (1, 'b');
SELECT setval('b_id_seq', 1);
