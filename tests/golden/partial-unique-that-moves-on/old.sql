UPDATE addr SET is_default=false WHERE id IN (2,4); UPDATE addr SET is_default=true WHERE id IN (1,3,5);
UPDATE mail SET deleted_at='2025-06-01' WHERE id=2; UPDATE mail SET deleted_at=NULL WHERE id IN (1,3);
