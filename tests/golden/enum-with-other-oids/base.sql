INSERT INTO m VALUES (1,'sad','{ok}','x'),(2,'sad','{ok}','x');
