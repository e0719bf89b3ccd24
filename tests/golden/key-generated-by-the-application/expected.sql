SELECT count(*)=3 AND max(id)=3 FROM orders;
