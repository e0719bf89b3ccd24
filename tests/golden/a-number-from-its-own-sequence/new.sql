INSERT INTO o VALUES ('cccccccc-cccc-cccc-cccc-cccccccccccc',10,'n');
