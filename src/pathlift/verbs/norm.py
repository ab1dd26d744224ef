"""The path-norms of a network."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Literal

from pathlift.verbs.result import Result


def norm(
    source: str | os.PathLike[str],
    *,
    q: Sequence[float] = (1.0,),
    pooling: Literal["sum", "max"] = "sum",
    inputs_only: bool = False,
    dtype: Literal["float64", "float32"] = "float64",
    shape: Mapping[str, int] | None = None,
    per_layer: bool = False,
    full: bool = False,
    memory_limit: int = 8 * 10**9,
    assume_eval: bool = False,
) -> Result:
    """Compute the path-norm for each exponent in `q`."""
    raise NotImplementedError
