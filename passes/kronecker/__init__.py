"""Kronecker-sparse layers: found, fitted, and laid out."""
