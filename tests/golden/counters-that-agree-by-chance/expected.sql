SELECT bool_and(likes=12) FROM posts; SELECT title='o' FROM posts WHERE id=2; SELECT n=11 FROM visits;
