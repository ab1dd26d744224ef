"""Interval arithmetic over tapes, rounded outward: of one network, and of two at once with their difference."""
