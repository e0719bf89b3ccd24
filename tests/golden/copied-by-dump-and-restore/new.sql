UPDATE t SET v='n' WHERE id=2; INSERT INTO t (v) VALUES ('n');
