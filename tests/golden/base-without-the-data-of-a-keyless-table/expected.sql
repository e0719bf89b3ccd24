SELECT string_agg(who::text, ',' ORDER BY who)='1,3' FROM log;
