SELECT array_agg(email ORDER BY id) = '{c,a}' FROM users;
