UPDATE users SET email='c' WHERE id=1;
