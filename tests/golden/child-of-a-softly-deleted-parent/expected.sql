SELECT array_agg(id ORDER BY id)='{6,7}' FROM c;
