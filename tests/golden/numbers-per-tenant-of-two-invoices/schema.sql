CREATE TABLE inv (id bigserial PRIMARY KEY, tenant int, number int, total int, UNIQUE (tenant, number)); CREATE TABLE line (id bigserial PRIMARY KEY, inv_id bigint REFERENCES inv);
