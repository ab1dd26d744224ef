"""Certificates about models: how far two are apart, how steep one is, how robust its classes are."""
