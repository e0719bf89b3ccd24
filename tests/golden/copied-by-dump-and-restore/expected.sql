SELECT array_agg(v ORDER BY id)='{o,n}' FROM t WHERE id<3; SELECT count(*)=42 FROM t;
