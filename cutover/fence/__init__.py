"""Making the old database refuse writes, and proving it (DESIGN.md 7, Fence)."""
