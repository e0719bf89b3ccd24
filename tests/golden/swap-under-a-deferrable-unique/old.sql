UPDATE users SET email=CASE id WHEN 1 THEN 'b' ELSE 'a' END;
