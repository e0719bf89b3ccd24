SELECT a='o' AND b='n' FROM t WHERE id=1; SELECT a='n' FROM t WHERE id=2; SELECT count(*)=2 FROM t;
