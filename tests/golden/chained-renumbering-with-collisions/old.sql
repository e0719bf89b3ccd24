INSERT INTO users VALUES (50,'a'),(47,'b'); INSERT INTO posts VALUES (1,50),(2,47);
