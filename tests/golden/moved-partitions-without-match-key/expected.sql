SELECT count(*)=1 FROM e WHERE id=1;
