CREATE TABLE a (id bigserial PRIMARY KEY, v text);
CREATE TABLE b (id bigserial PRIMARY KEY, v text);
CREATE TABLE t (id int PRIMARY KEY, one bigint, two bigint, low int, high int, width int);
ALTER TABLE t ADD CONSTRAINT named FOREIGN KEY (one) REFERENCES a, ADD CONSTRAINT checked CHECK (low <= high);
