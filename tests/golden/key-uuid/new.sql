UPDATE t SET v='n' WHERE k='cccccccc-cccc-cccc-cccc-cccccccccccc';
