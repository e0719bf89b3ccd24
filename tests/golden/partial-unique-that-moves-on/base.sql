INSERT INTO addr VALUES (1,1,false),(2,1,true),(3,2,false),(4,2,true),(5,3,false),(6,3,false);
INSERT INTO mail VALUES (1,'a','2025-01-01'),(2,'a',NULL),(3,'b','2025-01-01');
