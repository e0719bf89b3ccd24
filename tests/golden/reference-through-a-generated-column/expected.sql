SELECT array_agg(title||total ORDER BY total)='{base5,o220,o330,n399}' FROM docs JOIN bills ON docs.id=doc_id;
