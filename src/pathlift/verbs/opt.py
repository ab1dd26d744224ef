"""Pass pipelines over a model."""

from __future__ import annotations

import os
from collections.abc import Callable

from pathlift.verbs.result import Result


def opt(
    source: str | os.PathLike[str],
    pipeline: str = "",
    *,
    output: str | os.PathLike[str] | None = None,
    force: bool = False,
    memory_limit: int = 8 * 10**9,
    after_each: Callable[[str, str], None] | None = None,
) -> Result:
    """Run `pipeline`; `after_each` is called with each pass's name and the IR text after it."""
    raise NotImplementedError
