"""What a model is made of, and which analyses apply to it."""

from __future__ import annotations

import os

from pathlift.verbs.result import Result


def inspect(source: str | os.PathLike[str], *, memory_limit: int = 8 * 10**9) -> Result:
    """Summarize a model; never imports torch and never reads the weights' values."""
    raise NotImplementedError
