INSERT INTO g VALUES (1,2,3,'a'),(2,2,3,'a'),(3,2,3,'a');
