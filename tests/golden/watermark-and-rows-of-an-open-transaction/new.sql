UPDATE t SET w='n' WHERE id IN (1,2); INSERT INTO t (v) VALUES ('n');
