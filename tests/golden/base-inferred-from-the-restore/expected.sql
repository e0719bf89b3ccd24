SELECT v='o' FROM t WHERE id=1; SELECT count(*)=1 FROM t WHERE id=3; SELECT count(*)=2 FROM t WHERE id>40;
