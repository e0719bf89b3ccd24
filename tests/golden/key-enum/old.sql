UPDATE t SET v='o' WHERE k='sad'; DELETE FROM t WHERE k='ok'; INSERT INTO t VALUES ('odd','o');
