DELETE FROM o WHERE id>1; SELECT setval('o_id_seq',1);
