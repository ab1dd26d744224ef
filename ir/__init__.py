"""The intermediate representation: immutable graphs, op programs, and the one evaluator that runs them."""
