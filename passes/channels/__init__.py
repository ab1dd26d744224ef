"""Channels: which of them share a factor, and what a factor does to the weights around."""
