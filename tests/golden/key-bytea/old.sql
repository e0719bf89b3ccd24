UPDATE t SET v='o' WHERE k='\x00'; DELETE FROM t WHERE k='\x0aff'; INSERT INTO t VALUES ('\xdeadbeef','o');
