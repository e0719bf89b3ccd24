SELECT order_id = 3 AND parent_id = 3 AND user_id = 3 FROM payments WHERE note = 'see 3';
SELECT order_id = 3 AND user_id = 3 FROM payments WHERE id = 1;
