UPDATE t SET b='n' WHERE id=1; UPDATE t SET a='n' WHERE id=2; UPDATE t SET b=b WHERE id=3;
