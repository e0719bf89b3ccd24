UPDATE d SET removed_at='2025-01-01' WHERE id IN (1,3,4,5,6); UPDATE d SET v='o' WHERE id=2;
