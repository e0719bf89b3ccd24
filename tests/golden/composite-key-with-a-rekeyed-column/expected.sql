SELECT count(*) = 2 FROM lines; SELECT order_id <> 101 FROM remarks;
