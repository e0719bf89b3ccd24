SELECT theme='dark' AND user_id=60 FROM settings; SELECT count(*)=1 FROM users;
