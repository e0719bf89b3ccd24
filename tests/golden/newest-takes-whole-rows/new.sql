UPDATE t SET a='n', b='n', at='2025-03-02';
