UPDATE o SET status='cancelled';
