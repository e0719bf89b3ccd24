INSERT INTO n VALUES (1,1.0,0,0),(2,1,0,0),(3,'NaN','NaN','infinity');
