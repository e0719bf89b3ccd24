UPDATE j SET b='{}' WHERE id=1;
