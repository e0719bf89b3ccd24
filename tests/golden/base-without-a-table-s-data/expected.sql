SELECT count(*)=3 FROM o;
