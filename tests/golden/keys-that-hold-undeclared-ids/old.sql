INSERT INTO orders (v) VALUES ('old');
INSERT INTO items VALUES (1, 2, 'of order 1'), (2, 1, 'of old''s order 2');
INSERT INTO order_notes VALUES (1, 'of order 1'), (2, 'of old''s order 2');
