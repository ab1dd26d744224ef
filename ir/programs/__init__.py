"""Programs of what is not piecewise linear, in gates, linear maps and products: what certificates know of an op."""
