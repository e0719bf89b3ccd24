INSERT INTO p VALUES ('x','n');
