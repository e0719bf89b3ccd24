INSERT INTO t SELECT 1, string_agg(md5(n::text),'') FROM generate_series(1,40000) n; INSERT INTO t SELECT 2, repeat('x',2000000);
