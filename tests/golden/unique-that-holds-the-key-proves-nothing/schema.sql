CREATE TABLE orders (id serial PRIMARY KEY, tenant int NOT NULL, total int, UNIQUE (tenant, id));
CREATE TABLE tickets (id serial PRIMARY KEY, v text, code text GENERATED ALWAYS AS ('T' || id::text) STORED UNIQUE);
