SELECT x::text='[0:1]={1,2}' AND y[2]='NULL' AND y[3] IS NULL FROM a;
