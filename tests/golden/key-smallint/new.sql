UPDATE t SET v='n' WHERE k=1;
