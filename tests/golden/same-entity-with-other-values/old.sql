INSERT INTO users VALUES (50,'a','Ann'); INSERT INTO settings VALUES (5,50,'d');
