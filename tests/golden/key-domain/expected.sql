SELECT count(*)=3 FROM t; SELECT v='o' FROM t WHERE k='A1'; SELECT v='o' FROM t WHERE k='D4'; SELECT v='n' FROM t WHERE k='C3';
