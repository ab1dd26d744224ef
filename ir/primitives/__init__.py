"""Primitives: what the ops' programs hand to an algebra: linear maps, views, activations, order statistics."""
