"""Sketches of data: second moments of what layers read."""
