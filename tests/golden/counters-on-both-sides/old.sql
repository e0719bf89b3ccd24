UPDATE posts SET likes=13;
