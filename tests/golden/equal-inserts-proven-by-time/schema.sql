CREATE TABLE orders (id bigserial PRIMARY KEY, at timestamptz);
