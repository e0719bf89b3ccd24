UPDATE a SET x='[0:1]={1,2}', y='{a,"NULL",NULL}';
