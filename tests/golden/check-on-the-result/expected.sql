SELECT balance = 50 FROM accounts WHERE id = 1;
SELECT balance = 40 FROM accounts WHERE id = 2;
SELECT string_agg(id::text, ',' ORDER BY id) = '1,2,4,5' FROM accounts;
SELECT string_agg(id::text, ',' ORDER BY id) = '4' FROM notes;
