SELECT v='n' FROM t;
