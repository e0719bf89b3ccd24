UPDATE o SET v='o2' WHERE id=1;
