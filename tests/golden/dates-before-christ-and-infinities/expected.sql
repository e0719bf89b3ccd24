SELECT d='0044-03-15 BC' AND t='infinity' FROM d;
