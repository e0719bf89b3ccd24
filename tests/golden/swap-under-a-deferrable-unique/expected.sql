SELECT array_agg(email ORDER BY id) = '{b,a}' FROM users;
