INSERT INTO payments (order_id, note) VALUES (2, 'n');
