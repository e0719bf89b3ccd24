SELECT body='changed' AND order_id=99 FROM events WHERE id=1;
SELECT order_id=97 FROM events WHERE id=2;
SELECT payload->>'order_id'='96' FROM events WHERE id=3;
SELECT order_id=95 FROM events WHERE id=4;
SELECT payload->>'order_id'='94' FROM events WHERE id=5;
