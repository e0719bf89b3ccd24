INSERT INTO orders (v) SELECT 'base' FROM generate_series(1, 7);
INSERT INTO events VALUES (1, 'order', '{"order_id": 4}'), (2, 'order', '{"order_id": 5}'), (3, 'order', '{"order_id": 6}');
