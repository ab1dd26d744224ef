"""Two networks as one: the same nodes, with the parameters of either."""
