SELECT a='ok' AND b='{sad,ok}' FROM m WHERE id=1; SELECT a='sad' FROM m WHERE id=2;
