"""What `nodectl watch` is made of: where samples come from, the rows made of them, and the ways of showing them."""
