SELECT count(*)=0 FROM items JOIN orders ON orders.id=order_id WHERE n='n'; SELECT count(*)=0 FROM notes JOIN orders USING (code) WHERE n='n'; SELECT count(*)=3 FROM orders;
