UPDATE t SET v='n' WHERE id=2;
