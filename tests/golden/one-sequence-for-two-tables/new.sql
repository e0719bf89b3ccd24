INSERT INTO pages VALUES (101,'n'); SELECT setval('ids',101);
