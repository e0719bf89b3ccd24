SELECT v='o' FROM t;
