SELECT last_order_id = 101 FROM users; SELECT count(*)=2 FROM orders WHERE id > 100;
