INSERT INTO invoices (who) VALUES ('o'); INSERT INTO lines VALUES (1,1,'apple'),(1,2,'pear');
