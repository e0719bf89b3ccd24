SELECT count(*)=3 FROM e2; SELECT v='n' AND day='2025-02-05' FROM e WHERE id=2; SELECT count(*)=4 FROM e;
