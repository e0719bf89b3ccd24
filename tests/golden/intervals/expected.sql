SELECT d::text='30 days' FROM i WHERE id=1; SELECT d::text='24:00:00' FROM i WHERE id=3;
