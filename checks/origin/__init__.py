"""Checks of the two deployments."""
