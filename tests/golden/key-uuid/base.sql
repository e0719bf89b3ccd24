INSERT INTO t VALUES ('aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa','b'),('bbbbbbbb-bbbb-bbbb-bbbb-bbbbbbbbbbbb','b'),('cccccccc-cccc-cccc-cccc-cccccccccccc','b');
