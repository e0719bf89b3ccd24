UPDATE "T" SET v='o';
