SELECT count(*)=0 FROM items; SELECT count(*)=0 FROM orders;
