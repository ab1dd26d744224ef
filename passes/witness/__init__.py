"""Evidence for rewrites: where a graph was rewritten; both graphs are walked, and both computations evaluated."""
