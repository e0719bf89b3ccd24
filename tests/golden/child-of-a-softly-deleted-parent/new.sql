UPDATE p SET removed_at='2025-02-01' WHERE id=2;
