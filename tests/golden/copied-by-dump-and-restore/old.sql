UPDATE t SET v='o' WHERE id=1; INSERT INTO t (v) VALUES ('o');
