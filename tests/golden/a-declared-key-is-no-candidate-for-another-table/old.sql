INSERT INTO payments (order_id, parent_id, user_id, note) VALUES (3, 3, 3, 'see 3');
UPDATE payments SET order_id = 3, user_id = 3 WHERE id = 1;
