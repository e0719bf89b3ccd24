SELECT v='o' AND n=5 FROM t WHERE id=1;
