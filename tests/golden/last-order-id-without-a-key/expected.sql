SELECT last_order_id = 101 FROM users WHERE id=1;
