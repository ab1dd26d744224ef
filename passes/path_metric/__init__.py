"""Bounds on the distance of two networks that differ in their parameters, from paths."""
