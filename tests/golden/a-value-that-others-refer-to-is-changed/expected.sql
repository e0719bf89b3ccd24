SELECT bool_and(slug='z') FROM d; SELECT slug='z' FROM p; SELECT v='n' FROM d WHERE id=2; SELECT slug='x' FROM a;
