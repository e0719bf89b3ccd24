SELECT x::text='1.00' AND f::text='-0' FROM n WHERE id=1; SELECT r::text='-0' FROM n WHERE id=2; SELECT x='NaN' AND f='infinity' FROM n WHERE id=3;
