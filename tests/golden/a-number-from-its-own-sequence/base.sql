SELECT setval('o_number_seq',9);
