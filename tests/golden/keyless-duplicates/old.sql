DELETE FROM log WHERE line='a'; INSERT INTO log VALUES ('c',1),('c',1),('b',NULL);
