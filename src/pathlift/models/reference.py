"""Models in ONNX Runtime, run as they are written: no graph optimizations, one thread."""

from __future__ import annotations

import importlib.util
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pathlift.ir.errors import UsageError
from pathlift.ir.foreign import running
from pathlift.ir.graph import Graph
from pathlift.ir.types import Array

if TYPE_CHECKING:
    from pathlift.models.source import Model

Outputs = Mapping[str, Array]
"""By name; ONNX Runtime may also return what is no array."""


def check_onnxruntime() -> None:
    """Check that ONNX Runtime is installed.

    Raises
    ------
    UsageError
        If it is not.
    """
    if importlib.util.find_spec("onnxruntime") is None:
        raise UsageError("0434", "verifying needs ONNX Runtime", hint="pip install 'pathlift[cpu]'")


def open_session(model: Model) -> Any:
    """Open a model; a graph is saved for the purpose, since above 2 GB there is no way but a file.

    Raises
    ------
    PathliftError
        If ONNX Runtime cannot load it.
    """
    from pathlift.runtime.session import onnxruntime_session

    if isinstance(model, bytes):
        return onnxruntime_session(model)
    if isinstance(model, str | os.PathLike):
        return onnxruntime_session(os.fspath(model))
    if isinstance(model, Graph):
        from pathlift.frontend.save import save

        with tempfile.TemporaryDirectory(prefix="pathlift-", ignore_cleanup_errors=True) as folder:
            save(model, path := Path(folder) / "model.onnx")
            return onnxruntime_session(str(path))
    proto: Any = model
    return onnxruntime_session(proto.SerializeToString())


def run_session(session: Any, feeds: Mapping[str, Array]) -> Outputs:
    """Run a model; returns the outputs by name.

    Raises
    ------
    PathliftError
        If the model fails on these inputs.
    """
    with running():
        return dict(zip([o.name for o in session.get_outputs()], session.run(None, dict(feeds)), strict=True))
