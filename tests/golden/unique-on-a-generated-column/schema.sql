CREATE TABLE u (id int PRIMARY KEY, email text, name text, low text GENERATED ALWAYS AS (lower(email)) STORED UNIQUE);
