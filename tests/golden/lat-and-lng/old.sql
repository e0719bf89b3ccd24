UPDATE s SET lat=2 WHERE id<3; UPDATE s SET name='o' WHERE id=3;
