SELECT count(*)=3 FROM t; SELECT v='o' FROM t WHERE k='2025-01-01 10:00+02'; SELECT v='o' FROM t WHERE k='-infinity'; SELECT v='n' FROM t WHERE k='infinity';
