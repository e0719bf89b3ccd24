SELECT bool_and(v='slow') AND count(*)=2 FROM t WHERE id IN (5,6); SELECT v='o' FROM t WHERE id=43; SELECT v='n' FROM t WHERE id=41; SELECT count(*)=0 FROM t WHERE id=3;
