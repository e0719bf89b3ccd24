CREATE TABLE orders (id int PRIMARY KEY, note text);
CREATE TABLE events (id int PRIMARY KEY, order_id int, payload jsonb, body text);
CREATE TABLE comments (id int PRIMARY KEY, kind text, subject int);
