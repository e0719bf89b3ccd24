INSERT INTO items VALUES (7,1,'n');
