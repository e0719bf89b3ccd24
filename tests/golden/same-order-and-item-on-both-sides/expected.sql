SELECT count(*) = 102 FROM orders; SELECT count(*) = 2 AND count(DISTINCT order_id) = 2 FROM items;
