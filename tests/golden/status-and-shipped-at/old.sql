UPDATE o SET shipped_at='2025-01-01';
