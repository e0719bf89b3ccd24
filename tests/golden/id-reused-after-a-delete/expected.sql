SELECT array_agg(name ORDER BY id)='{a,y}' FROM t;
