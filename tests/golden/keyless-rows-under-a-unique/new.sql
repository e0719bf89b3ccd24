INSERT INTO k VALUES ('a',2,NULL),('b',2,'y');
