UPDATE t SET v=E'<script>alert(1)</script>"\'\x1b[31m\n]]>\u202e' WHERE id=1; INSERT INTO t VALUES (2,E'\'; DROP TABLE t; --');
