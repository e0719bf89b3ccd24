"""Checks of what DNS serves, and of what caches may still hold."""
