SELECT v='o' FROM "T"; SELECT v='n' FROM t;
