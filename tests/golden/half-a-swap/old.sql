UPDATE users SET email='t' WHERE id=1; UPDATE users SET email='a' WHERE id=2; UPDATE users SET email='b' WHERE id=1;
