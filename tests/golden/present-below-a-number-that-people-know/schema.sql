CREATE TABLE invoices (number serial PRIMARY KEY, who text);
CREATE TABLE lines (number int REFERENCES invoices, n int, what text, PRIMARY KEY (number, n));
