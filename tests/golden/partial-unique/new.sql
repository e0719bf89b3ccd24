INSERT INTO s VALUES (11,7,true),(12,8,true),(13,9,false);
