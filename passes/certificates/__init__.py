"""Certificates: upper bounds of how far two networks can be apart on a domain, by methods that feed each other."""
