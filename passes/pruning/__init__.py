"""Pruning: which weights may go, what each is worth, which go, and what becomes of the network."""
