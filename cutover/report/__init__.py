"""Verdicts for people: terminal, page, notification."""
