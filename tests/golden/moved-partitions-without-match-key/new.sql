UPDATE e SET v='n' WHERE id=2;
