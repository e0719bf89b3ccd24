CREATE TABLE orders (id bigserial PRIMARY KEY, note text);
CREATE TABLE lines (order_id bigint REFERENCES orders, line int, what text, PRIMARY KEY (order_id, line));
CREATE TABLE remarks (id int PRIMARY KEY, order_id bigint, line int, FOREIGN KEY (order_id, line) REFERENCES lines);
