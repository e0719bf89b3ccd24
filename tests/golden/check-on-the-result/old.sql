UPDATE accounts SET balance = 20 WHERE id = 1;
UPDATE accounts SET balance = 90 WHERE id = 2;
INSERT INTO accounts VALUES (3, 5, 'UPPER'), (4, 5, 'lower'), (5, 5, NULL);
INSERT INTO notes VALUES (1, 3, 2, NULL), (2, 4, 3, NULL), (3, 4, 4, '{a,b}'), (4, 4, 4, '{a}');
