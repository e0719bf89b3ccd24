UPDATE t SET v='o' WHERE k='aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa'; DELETE FROM t WHERE k='bbbbbbbb-bbbb-bbbb-bbbb-bbbbbbbbbbbb'; INSERT INTO t VALUES ('dddddddd-dddd-dddd-dddd-dddddddddddd','o');
