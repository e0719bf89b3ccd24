UPDATE t SET v='o' WHERE id=1;
