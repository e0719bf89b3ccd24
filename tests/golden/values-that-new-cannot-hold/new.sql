ALTER TABLE child DROP CONSTRAINT child_m_fkey;
ALTER TYPE mood RENAME TO was;
CREATE TYPE mood AS ENUM ('sad', 'ok');
ALTER TABLE t ALTER m TYPE mood USING m::text::mood, ALTER v TYPE varchar(5), ALTER n TYPE int, ALTER p TYPE numeric(10,2);
ALTER TABLE child ALTER m TYPE mood USING m::text::mood;
ALTER TABLE child ADD FOREIGN KEY (m) REFERENCES t (m);
DROP TYPE was;
