SELECT name='Anne' FROM users; SELECT user_id=60 FROM settings;
