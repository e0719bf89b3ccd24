SELECT count(*)=2 FROM staff; SELECT p.name='o' FROM staff s JOIN people p USING (id) WHERE s.id<>1;
