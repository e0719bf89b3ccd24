SELECT count(*)=2 FROM ONLY a; SELECT count(*)=3 FROM b;
