CREATE TABLE n (id bigserial PRIMARY KEY, parent_id bigint REFERENCES n, t text);
