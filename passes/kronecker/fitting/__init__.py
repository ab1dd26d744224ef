"""Fitting: products of Kronecker-sparse factors near a given matrix."""
