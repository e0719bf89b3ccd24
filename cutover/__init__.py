"""cutover: a hosting migration is done when the world has moved, not when the record has."""

__version__ = "0.1.0"
