UPDATE accounts SET balance = 50;
ALTER TABLE accounts ADD CHECK ("Odd name" = lower("Odd name"));
ALTER TABLE notes ADD CHECK (even(n)), ADD CHECK (cardinality(tags) < 2) NOT VALID;
