SELECT count(*)=3 AND bool_and(b=2 OR a='c') FROM k;
