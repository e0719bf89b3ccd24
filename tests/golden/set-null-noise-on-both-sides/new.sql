DELETE FROM orders WHERE id=1; UPDATE items SET what='n' WHERE id=6;
