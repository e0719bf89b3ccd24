UPDATE posts SET likes=12, money=1.00, f=1 WHERE id=1;
