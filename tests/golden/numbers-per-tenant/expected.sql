SELECT count(*)=3 FROM line; SELECT count(*)=2 FROM inv;
