"""Generalization: what a network's error on new data can be bounded by, and the Lipschitz product of its layers."""
