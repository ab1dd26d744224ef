"""Layers: reading, selecting and editing them."""
