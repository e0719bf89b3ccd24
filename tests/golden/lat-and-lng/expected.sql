SELECT lat=2 AND lng=1 FROM s WHERE id=1;
