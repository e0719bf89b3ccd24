SELECT count(*)=3 AND bool_and(v='o') FROM p; SELECT count(*)=2 FROM c;
