UPDATE t SET v = 'longer than five' WHERE id = 1;
UPDATE t SET n = 3000000000 WHERE id = 2;
UPDATE t SET v = 'five5', n = 2147483647 WHERE id = 3;
UPDATE t SET p = 4.005 WHERE id = 4;
INSERT INTO t VALUES (5, 'fine', 'e', 5, 5);
INSERT INTO t VALUES (6, NULL, 'f', 6, 6.5);
INSERT INTO t VALUES (7, NULL, 'g', 7, 7.125);
INSERT INTO child VALUES (1, 5, NULL), (2, 6, NULL), (3, 1, 'fine'), (4, 1, 'ok');
