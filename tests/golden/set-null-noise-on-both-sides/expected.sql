SELECT count(*)=2 AND count(order_id)=0 FROM items;
