UPDATE t SET v=v||'o' WHERE id=1;
