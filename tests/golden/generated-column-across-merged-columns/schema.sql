CREATE TABLE g (id int PRIMARY KEY, w int, h int, n text, area int GENERATED ALWAYS AS (w*h) STORED);
