"""Path-norms of networks."""
