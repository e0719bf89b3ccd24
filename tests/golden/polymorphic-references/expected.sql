SELECT o.v='o' FROM comments c JOIN orders o ON o.id=c.commentable_id WHERE c.id=1;
