UPDATE e SET v='n' WHERE id=2; UPDATE e SET v='n' WHERE id=3;
