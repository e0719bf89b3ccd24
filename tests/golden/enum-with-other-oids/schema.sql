CREATE TYPE mood AS ENUM ('sad','ok'); CREATE TABLE m (id int PRIMARY KEY, a mood, b mood[], c text);
