SELECT isempty(x) AND y='{}' AND (z).a IS NULL AND (z).b='' AND i='10.0.0.2/8' AND b=B'111' AND m=2.25::money AND p~='(1,3)' AND v='c' FROM r;
