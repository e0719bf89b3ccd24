UPDATE j SET a='{"b":2,"a":1}' WHERE id=1; UPDATE j SET b='{"a":1.00}' WHERE id=2; UPDATE j SET b='{ "a" : 1 }' WHERE id=3;
