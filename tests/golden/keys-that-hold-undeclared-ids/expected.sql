SELECT count(*) = 2 FROM items WHERE order_id = 1;
SELECT count(*) = 0 FROM items WHERE order_id = 2;
SELECT count(*) = 0 FROM order_notes WHERE order_id = 2;
SELECT count(*) = 3 FROM orders;
