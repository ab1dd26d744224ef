"""Finite automata over tokens: regular languages, what can still be said in them, and weights on what is said."""
