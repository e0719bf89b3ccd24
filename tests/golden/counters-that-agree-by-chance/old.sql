UPDATE posts SET likes=11; UPDATE posts SET title='o' WHERE id=2; UPDATE visits SET n=11, changed='2025-06-01 10:00:00.123456+00';
