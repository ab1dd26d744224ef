"""Regions: the parts of a network that path-norms cover."""
