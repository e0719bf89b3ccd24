SELECT a::text='{"b":2,"a":1}' AND b='{}' FROM j WHERE id=1; SELECT b::text='{"a": 1.00}' FROM j WHERE id=2;
