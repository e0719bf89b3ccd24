CREATE TABLE o (id uuid PRIMARY KEY, number bigserial, v text);
