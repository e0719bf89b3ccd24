CREATE TABLE j (id int PRIMARY KEY, a json, b jsonb);
