INSERT INTO b VALUES (9,'q','n');
