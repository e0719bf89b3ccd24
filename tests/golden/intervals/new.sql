UPDATE i SET d='720 hours' WHERE id=2;
