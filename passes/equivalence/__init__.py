"""Whether two graphs are the same function up to a rescaling of their neurons, a permutation of them, or both."""
