INSERT INTO t (v,w) SELECT 'b','b' FROM generate_series(1,40);
