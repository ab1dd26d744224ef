"""Rescaling symmetries: which neurons share a factor, what moving along them does, and canonical representatives."""
