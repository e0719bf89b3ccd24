"""Checks of where requests and writes go."""
