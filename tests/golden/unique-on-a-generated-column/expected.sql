SELECT array_agg(low ORDER BY id)='{z,b,e,c}' FROM u;
