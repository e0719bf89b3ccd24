SELECT lo_create(0); INSERT INTO t VALUES (1,'o');
