CREATE FUNCTION even(n int) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT n % 2 = 0';
CREATE TABLE accounts (id int PRIMARY KEY, balance numeric(12,2), "Odd name" text, CHECK (balance >= 0));
CREATE TABLE notes (id int PRIMARY KEY, account int REFERENCES accounts, n int, tags text[]);
