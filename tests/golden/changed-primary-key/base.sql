INSERT INTO users VALUES (1,'a','a@'),(2,'b','b@'); INSERT INTO posts VALUES (1,1),(2,2);
