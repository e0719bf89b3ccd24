UPDATE t SET a='o', at='2025-03-03' WHERE id=1; UPDATE t SET a='o', at='2025-03-01' WHERE id=2; UPDATE t SET a='o', at=NULL WHERE id=3; UPDATE t SET a='o', at='2025-03-02' WHERE id=4;
