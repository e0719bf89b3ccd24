CREATE TYPE mood AS ENUM ('sad','ok','glad','odd');CREATE TABLE t (k mood PRIMARY KEY, v text);
