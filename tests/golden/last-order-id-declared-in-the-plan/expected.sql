SELECT o.note = 'o' FROM users u JOIN orders o ON o.id = u.last_order_id;
