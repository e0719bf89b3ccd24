SELECT count(*)=1 FROM lines;
