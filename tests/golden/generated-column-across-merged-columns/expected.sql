SELECT area=15 AND n='n' FROM g WHERE id=2; SELECT area=4 FROM g WHERE id=4;
