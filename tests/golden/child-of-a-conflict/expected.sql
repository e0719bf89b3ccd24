SELECT count(*)=0 FROM c;
