CREATE EXTENSION citext; CREATE TABLE u (id int PRIMARY KEY, mail citext UNIQUE, alias text); CREATE UNIQUE INDEX ON u (lower(alias));
