SELECT array_agg(v) = '{n}' FROM t;
