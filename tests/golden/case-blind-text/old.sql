UPDATE u SET name='Bob';
