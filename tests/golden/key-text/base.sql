INSERT INTO t VALUES ('a','b'),('B','b'),('ü','b');
