UPDATE t SET v='n';
