CREATE TYPE pair AS (a int, b text); CREATE TABLE r (id int PRIMARY KEY, x int4range, y int4multirange, z pair, i inet, b bit(3), m money, p point, v tsvector);
