SELECT count(*)=2 FROM orders; SELECT count(*)=2 FROM tickets;
