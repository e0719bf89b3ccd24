SELECT count(*)=1 FROM profiles;
