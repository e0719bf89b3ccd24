SELECT count(*)=0 FROM t WHERE id=3;
