"""Sketches of data as verbs make, write and read them."""
