UPDATE events SET body='changed' WHERE id=1;
UPDATE events SET order_id=97 WHERE id=2;
UPDATE events SET payload='{"order_id": 96}' WHERE id=3;
INSERT INTO events VALUES (4,95,NULL,'x'),(5,1,'{"order_id": 94}','x');
INSERT INTO orders VALUES (5,'old');
UPDATE comments SET kind='order' WHERE id=1;
