SELECT setval('ids',100);
