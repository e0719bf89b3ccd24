INSERT INTO t VALUES (1,'x','aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa','2025-01-01',1.5,'b'),(1,'x','aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa','2025-01-02',1.5,'b');
