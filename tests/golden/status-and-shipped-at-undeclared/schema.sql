CREATE TABLE o (id int PRIMARY KEY, status text, shipped_at timestamptz);
