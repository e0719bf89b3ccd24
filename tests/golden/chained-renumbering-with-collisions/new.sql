INSERT INTO users VALUES (47,'a'),(50,'c'),(60,'d');
