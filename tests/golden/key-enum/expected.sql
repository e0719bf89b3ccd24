SELECT count(*)=3 FROM t; SELECT v='o' FROM t WHERE k='sad'; SELECT v='o' FROM t WHERE k='odd'; SELECT v='n' FROM t WHERE k='glad';
