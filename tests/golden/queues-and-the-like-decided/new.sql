UPDATE jobs SET w='n' WHERE id=2; INSERT INTO audit VALUES (2,'n');
