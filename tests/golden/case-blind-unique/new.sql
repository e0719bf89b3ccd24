INSERT INTO u VALUES (12,'BOB','r'),(13,'Abe','AL');
