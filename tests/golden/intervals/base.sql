INSERT INTO i VALUES (1,'1 mon'),(2,'1 mon'),(3,'1 day');
