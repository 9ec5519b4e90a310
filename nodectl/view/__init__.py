"""How results are ordered, folded and worded, for every front end. Knows no terminal library."""
