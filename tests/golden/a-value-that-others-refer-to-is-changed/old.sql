UPDATE c SET slug='z'; UPDATE p SET slug='z';
