CREATE TABLE d (id int PRIMARY KEY, v text, removed_at timestamptz); CREATE TABLE c (id int PRIMARY KEY, d_id int REFERENCES d);
