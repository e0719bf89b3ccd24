UPDATE t SET v='o' WHERE d='2025-01-02'; INSERT INTO t VALUES (1,'y','aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa','2025-01-01',1.5,'o');
