"""Adversaries: what looks for the largest value of an objective over a box of inputs, by execution in float64."""
