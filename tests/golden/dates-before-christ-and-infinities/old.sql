UPDATE d SET d='0044-03-15 BC', t='infinity';
