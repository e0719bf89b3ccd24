SELECT array_agg(v ORDER BY id)='{o,n}' FROM t; SELECT count(*)=3 FROM o;
