"""Ellipsoids that hold the values of two networks together, step by step, rounded outward (the S-procedure)."""
