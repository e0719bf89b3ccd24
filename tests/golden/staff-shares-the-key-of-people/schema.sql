CREATE TABLE people (id bigserial PRIMARY KEY, name text); CREATE TABLE staff (id bigint PRIMARY KEY REFERENCES people, role text);
