UPDATE m SET b='{sad,ok}' WHERE id=1;
