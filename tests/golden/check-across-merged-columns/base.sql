INSERT INTO r VALUES (1,1,10,'a'),(2,1,10,'a');
