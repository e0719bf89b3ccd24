SELECT v = 'a' FROM t WHERE id = 1;
SELECT n = 2 FROM t WHERE id = 2;
SELECT v = 'five5' AND n = 2147483647 FROM t WHERE id = 3;
SELECT p::text = '4.00' FROM t WHERE id = 4;
SELECT p::text = '6.50' FROM t WHERE id = 6;
SELECT count(*) = 0 FROM t WHERE id IN (5, 7);
SELECT array_agg(id ORDER BY id) = '{2,4}' FROM child;
