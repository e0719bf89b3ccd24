UPDATE n SET x=1.00, f='-0' WHERE id=1; UPDATE n SET r='-0' WHERE id=2; UPDATE n SET f='infinity' WHERE id=3;
