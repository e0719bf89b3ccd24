INSERT INTO s VALUES (1,7,true),(2,8,false),(3,9,true);
