SELECT array_agg(user_id ORDER BY id) = '{47,60}' FROM posts; SELECT count(*)=2 FROM users;
