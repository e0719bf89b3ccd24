INSERT INTO t VALUES ('2025-01-01 10:00+02','b'),('0044-03-15 BC','b'),('infinity','b');
