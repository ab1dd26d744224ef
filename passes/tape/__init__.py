"""Networks as straight-line programs of primitives, to be followed forward and backward."""
