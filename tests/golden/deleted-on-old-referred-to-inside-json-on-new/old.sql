DELETE FROM orders WHERE id IN (1, 2, 3, 4, 5, 6);
DELETE FROM events WHERE id = 1;
UPDATE events SET payload = '{"order_id": 7}' WHERE id = 2;
