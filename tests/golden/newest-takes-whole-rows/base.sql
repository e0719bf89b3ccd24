INSERT INTO t SELECT n,'a','b','2025-01-01' FROM generate_series(1,4) n;
