"""A flag that pathlift itself is exporting a module: it knows what nodes of its own domain mean, others do not."""

from __future__ import annotations

from contextvars import ContextVar

EXPORTING: ContextVar[bool] = ContextVar("EXPORTING", default=False)
