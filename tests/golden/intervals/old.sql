UPDATE i SET d='30 days' WHERE id<3; UPDATE i SET d='24 hours' WHERE id=3;
