"""Limits: what a model may take of the machine, unless the caller says otherwise."""

from __future__ import annotations

MEMORY_LIMIT = 8 * 10**9
"""Bytes that no tensor may take."""
