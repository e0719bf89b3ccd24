UPDATE t SET b='n';
