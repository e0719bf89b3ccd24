UPDATE s SET lng=3 WHERE id IN (1,3); UPDATE s SET name='n' WHERE id=2;
