UPDATE t SET fax='2', v='o'; INSERT INTO t VALUES (2,'o','3');
