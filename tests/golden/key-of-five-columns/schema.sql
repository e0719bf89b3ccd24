CREATE TABLE t (a int, b text, c uuid, d date, e numeric, v text, PRIMARY KEY (a,b,c,d,e));
