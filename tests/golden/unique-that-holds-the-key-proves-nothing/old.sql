INSERT INTO orders (tenant, total) VALUES (1,5); INSERT INTO tickets (v) VALUES ('a');
