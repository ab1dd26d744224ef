"""Compiler passes: analyses that return a result, transforms that return a graph and the evidence for it."""
