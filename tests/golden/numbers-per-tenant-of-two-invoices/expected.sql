SELECT count(*)=0 FROM line; SELECT total=20 FROM inv;
