SELECT count(*)=5 FROM s;
