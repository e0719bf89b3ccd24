"""Checks of what stands in front of the origins."""
