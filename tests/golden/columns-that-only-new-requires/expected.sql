SELECT array_agg(v ORDER BY id)='{z,c}' FROM t;
