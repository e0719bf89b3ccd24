CREATE TABLE log (line text, n int);
