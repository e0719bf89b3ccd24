CREATE TABLE p (id int PRIMARY KEY, v text, removed_at timestamptz); CREATE TABLE c (id int PRIMARY KEY, p int REFERENCES p);
