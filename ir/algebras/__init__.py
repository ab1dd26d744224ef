"""Algebras: the protocol, the one evaluator, and the algebras that the IR itself needs."""
