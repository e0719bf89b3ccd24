SELECT count(*)=0 FROM posts p JOIN pages q USING (id);
