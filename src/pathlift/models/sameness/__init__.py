"""Numerical sameness: whether two models return the same on the same inputs, and where they part if not."""
