SELECT array_agg(cart_id)='{1}' FROM orders;
