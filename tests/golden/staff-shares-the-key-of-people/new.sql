INSERT INTO people VALUES (1,'n'); INSERT INTO staff VALUES (1,'boss');
