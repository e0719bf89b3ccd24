INSERT INTO u VALUES (1,'bob'),(2,'bob');
