INSERT INTO people VALUES (1,'o'); INSERT INTO staff VALUES (1,'boss');
