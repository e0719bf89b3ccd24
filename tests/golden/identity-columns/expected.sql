SELECT a.v='o' FROM b JOIN a ON a.id=b.a_id;
