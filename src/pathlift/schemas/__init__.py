"""JSON Schemas of what verbs print, and of errors: one file each, written by ``docs/generate.py``."""
