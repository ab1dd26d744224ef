"""Sketches of data: what is kept of the rows that layers read. All of it are sums, so that sketches add up."""
