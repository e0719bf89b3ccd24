SELECT p.t='o' FROM n c JOIN n p ON p.id=c.parent_id WHERE c.t='o' AND c.id NOT IN (4) AND p.id<>1; SELECT count(*)=6 FROM n;
