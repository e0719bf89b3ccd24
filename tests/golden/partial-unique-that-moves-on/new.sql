UPDATE addr SET note='n' WHERE user_id=2; UPDATE addr SET is_default=true WHERE id=6;
