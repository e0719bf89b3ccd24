INSERT INTO users VALUES (60,'a','Anne');
