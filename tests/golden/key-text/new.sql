UPDATE t SET v='n' WHERE k='ü';
