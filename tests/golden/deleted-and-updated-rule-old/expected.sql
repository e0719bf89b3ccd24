SELECT array_agg(v) = '{o}' FROM t;
