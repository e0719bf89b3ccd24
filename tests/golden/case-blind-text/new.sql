UPDATE u SET name='BOB' WHERE id=2;
