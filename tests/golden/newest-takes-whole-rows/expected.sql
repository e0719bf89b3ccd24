SELECT a='o' AND b='b' FROM t WHERE id=1; SELECT bool_and(a='n' AND b='n') FROM t WHERE id>1;
