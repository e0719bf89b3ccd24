INSERT INTO users VALUES (47,'a'),(60,'b');
