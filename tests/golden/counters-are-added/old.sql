UPDATE posts SET likes=13, money=2.25, f=1.5 WHERE id=1; UPDATE posts SET likes=11 WHERE id=2;
