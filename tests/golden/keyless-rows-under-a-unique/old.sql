INSERT INTO k VALUES ('a',1,NULL),('b',1,'x'),('c',1,NULL);
