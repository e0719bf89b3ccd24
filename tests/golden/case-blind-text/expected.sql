SELECT name::text='Bob' FROM u WHERE id=1; SELECT name::text='BOB' FROM u WHERE id=2;
