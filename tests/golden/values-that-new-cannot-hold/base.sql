INSERT INTO t VALUES (1, 'sad', 'a', 1, 1), (2, 'ok', 'b', 2, 2), (3, NULL, 'c', 3, 3), (4, NULL, 'd', 4, 4);
