SELECT count(*)=0 FROM a; SELECT count(*)=0 FROM b;
