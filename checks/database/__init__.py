"""Checks of the two databases."""
