INSERT INTO a (v) VALUES ('n');
