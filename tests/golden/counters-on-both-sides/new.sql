UPDATE posts SET likes=12;
