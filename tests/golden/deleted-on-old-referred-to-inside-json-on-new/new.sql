INSERT INTO events VALUES (10, 'order', '{"order_id": 1}'), (11, 'order', '{"order_id": "2"}'), (12, 'user', '{"order_id": 3}');
