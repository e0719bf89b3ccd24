UPDATE users SET id=id+100;
