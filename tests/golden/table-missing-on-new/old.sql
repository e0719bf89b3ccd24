UPDATE gone SET v='o'; INSERT INTO gone VALUES (2,'o');
