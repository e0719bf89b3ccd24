UPDATE t SET a='o';
