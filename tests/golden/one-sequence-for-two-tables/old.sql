INSERT INTO posts VALUES (101,'o'); INSERT INTO pages VALUES (102,'o'); SELECT setval('ids',102);
