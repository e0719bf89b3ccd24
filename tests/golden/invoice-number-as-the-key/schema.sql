CREATE TABLE inv (invoice_no bigserial PRIMARY KEY, total int);
