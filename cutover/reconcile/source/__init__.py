"""The sides of a comparison: sessions, catalogues, rows, and whatever stands for base. Read-only."""
