UPDATE d SET v='n' WHERE id=2;
