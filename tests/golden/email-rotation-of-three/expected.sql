SELECT array_agg(email::text ORDER BY id) = '{b,c,a}' AND array_agg(n ORDER BY id)='{3,1,2}' FROM users;
