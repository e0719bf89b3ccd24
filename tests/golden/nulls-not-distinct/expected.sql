SELECT count(*)=2 FROM s;
