SELECT count(*)=3 FROM audit; SELECT count(*)=0 FROM sessions;
