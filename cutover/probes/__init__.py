"""The only code that looks at the world."""
