SELECT likes=15 AND money=1.75 AND f=2 FROM posts WHERE id=1; SELECT likes=11 FROM posts WHERE id=2;
