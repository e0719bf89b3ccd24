SELECT v = 'old' FROM a JOIN t ON t.one = a.id WHERE t.id = 2;
SELECT low = 5 AND high = 6 FROM t WHERE id = 1;
