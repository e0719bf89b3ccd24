INSERT INTO o VALUES ('aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa',10,'o'),('bbbbbbbb-bbbb-bbbb-bbbb-bbbbbbbbbbbb',11,'o');
