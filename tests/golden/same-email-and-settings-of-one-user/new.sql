INSERT INTO users VALUES (60,'a','A'); INSERT INTO settings VALUES (1,60,'light');
