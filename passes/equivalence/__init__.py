"""Equivalence of two graphs up to a rescaling of their neurons, a permutation of them, or both."""
