SELECT count(*)=3 FROM t; SELECT v='o' FROM t WHERE k='a'; SELECT v='o' FROM t WHERE k=''; SELECT v='n' FROM t WHERE k='ü';
