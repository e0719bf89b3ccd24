SELECT count(*)=3 FROM t; SELECT v='o' FROM t WHERE k='\x00'; SELECT v='o' FROM t WHERE k='\xdeadbeef'; SELECT v='n' FROM t WHERE k='\x';
