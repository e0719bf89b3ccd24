INSERT INTO orders VALUES (1,'o'); INSERT INTO events VALUES (1,'{"order_id": 1, "x": {"y": 1}}','see #1'),(2,'{"order_id": "1"}',NULL),(3,'{}',NULL);
