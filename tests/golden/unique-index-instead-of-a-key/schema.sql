CREATE TABLE t (code text NOT NULL, v text); CREATE UNIQUE INDEX t_code ON t (code);
