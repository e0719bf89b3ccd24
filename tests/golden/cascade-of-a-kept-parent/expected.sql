SELECT count(*)=2 FROM items;
