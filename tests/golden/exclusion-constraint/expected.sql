SELECT array_agg(id ORDER BY id)='{1,3,4,9}' FROM b;
