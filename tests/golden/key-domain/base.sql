INSERT INTO t VALUES ('A1','b'),('B2','b'),('C3','b');
