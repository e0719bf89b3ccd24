INSERT INTO u VALUES (9,'c'); UPDATE u SET name='n' WHERE id=4;
