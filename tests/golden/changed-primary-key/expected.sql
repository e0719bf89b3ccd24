SELECT user_id=101 FROM posts WHERE id=1; SELECT array_agg(id ORDER BY id)='{2,101}' FROM users;
