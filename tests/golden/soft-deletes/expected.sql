SELECT array_agg(id ORDER BY id) = '{2,3,4,6}' FROM d WHERE removed_at IS NOT NULL;
