CREATE TABLE s (id int PRIMARY KEY, lat numeric, lng numeric, name text);
