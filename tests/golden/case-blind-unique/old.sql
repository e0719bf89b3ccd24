INSERT INTO u VALUES (2,'Bob','q'),(3,'Eve','Al'),(4,'Ok','ok');
