SELECT array_agg(id ORDER BY id) = '{1,2,6,7}' FROM orders;
SELECT payload = '{"order_id": 7}' FROM events WHERE id = 2;
