SELECT count(*)=2 FROM post JOIN tag ON name=tag; SELECT count(*)=1 FROM b JOIN a ON a.id=b.a; SELECT count(*)=2 FROM tag;
