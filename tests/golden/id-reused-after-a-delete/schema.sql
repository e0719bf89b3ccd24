CREATE TABLE t (id int PRIMARY KEY, name text, age int, created_at timestamptz DEFAULT now());
