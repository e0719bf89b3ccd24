SELECT count(*)=2 AND bool_and(v='o') FROM t;
