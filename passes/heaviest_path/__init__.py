"""The heaviest path of a network."""
