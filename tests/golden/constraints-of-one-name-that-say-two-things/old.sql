INSERT INTO a (v) VALUES ('old');
INSERT INTO t VALUES (2, 1, 1, 0, 0, 0);
UPDATE t SET low = 9 WHERE id = 1;
