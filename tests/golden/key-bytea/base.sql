INSERT INTO t VALUES ('\x00','b'),('\x0aff','b'),('\x','b');
