UPDATE t SET v='o' WHERE code='a'; DELETE FROM t WHERE code='c';
