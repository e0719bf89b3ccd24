SELECT v='o' AND note='n' FROM t WHERE id=1; SELECT n=7 FROM t WHERE id=4; SELECT note='n' FROM t WHERE id=3;
