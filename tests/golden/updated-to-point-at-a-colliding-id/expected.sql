SELECT o.note='o' FROM items i JOIN orders o ON o.id=i.order_id;
