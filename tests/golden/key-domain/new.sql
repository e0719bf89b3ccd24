UPDATE t SET v='n' WHERE k='C3';
