INSERT INTO invoices (who) VALUES ('n'); INSERT INTO lines VALUES (1,1,'apple');
