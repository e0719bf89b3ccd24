UPDATE orders SET note='n' WHERE id=1;
