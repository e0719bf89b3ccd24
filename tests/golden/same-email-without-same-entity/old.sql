INSERT INTO users VALUES (50,'a','A'); INSERT INTO settings VALUES (1,50,'dark');
