INSERT INTO t VALUES ('sad','b'),('ok','b'),('glad','b');
