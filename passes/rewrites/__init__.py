"""Rewrites that keep the function: the same outputs from fewer nodes. One rewrite, one file."""
