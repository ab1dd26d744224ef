"""PyTorch modules to ONNX files."""

from __future__ import annotations

import os
from collections.abc import Sequence

from pathlift.verbs.result import Result


def export(
    module: object,
    *,
    shape: Sequence[int] | Sequence[Sequence[int]],
    output: str | os.PathLike[str],
    opset: int | None = None,
    force: bool = False,
) -> Result:
    """Export a module, or the one that ``package.module:factory`` returns, for inputs of the given shapes."""
    raise NotImplementedError
