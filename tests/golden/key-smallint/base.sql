INSERT INTO t VALUES (-1,'b'),(0,'b'),(1,'b');
