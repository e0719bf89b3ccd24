UPDATE t SET v='o';
