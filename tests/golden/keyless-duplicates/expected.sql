SELECT count(*)=0 FROM log WHERE line='a'; SELECT count(*)=3 FROM log WHERE line='b'; SELECT count(*)=3 FROM log WHERE line='c';
