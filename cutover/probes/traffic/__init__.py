"""How many requests and writes each side gets."""
