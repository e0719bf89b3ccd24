CREATE TABLE inv (id bigserial PRIMARY KEY, tenant int, number int, UNIQUE (tenant, number)); CREATE TABLE line (id bigserial PRIMARY KEY, inv_id bigint REFERENCES inv);
