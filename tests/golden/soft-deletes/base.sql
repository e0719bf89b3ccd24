INSERT INTO d SELECT n,'b' FROM generate_series(1,6) n; INSERT INTO c VALUES (1,6);
