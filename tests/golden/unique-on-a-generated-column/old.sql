INSERT INTO u VALUES (2,'B'),(3,'C'); UPDATE u SET email='Z' WHERE id=1; UPDATE u SET email='E' WHERE id=4;
