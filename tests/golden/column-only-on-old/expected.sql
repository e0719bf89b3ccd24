SELECT array_agg(v ORDER BY id)='{b,o}' FROM t;
