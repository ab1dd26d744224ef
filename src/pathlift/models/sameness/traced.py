"""Traced models: files that return what every node computes, run in ONNX Runtime as they are written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import onnx

from pathlift.ir.foreign import running
from pathlift.models.probes import Feeds


class Traced:
    """A model all of whose values can be read.

    Parameters
    ----------
    source
        A file, or its bytes.

    Raises
    ------
    PathliftError
        If ONNX Runtime does not take the model so.
    """

    def __init__(self, source: str | bytes) -> None:
        from pathlift.runtime.session import onnxruntime_session

        beside = None
        if isinstance(source, bytes):
            model = onnx.load_from_string(source)
        else:  # weights in other files are looked for beside the model
            model, beside = onnx.load(source, load_external_data=False), str(Path(source).resolve().parent)
        outputs = {output.name for output in model.graph.output}
        self.names = dict.fromkeys(name for node in model.graph.node for name in node.output if name)
        model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in self.names if name not in outputs)
        self._session = onnxruntime_session(model.SerializeToString(), beside=beside)

    def values(self, names: Sequence[str], feeds: Feeds) -> Mapping[str, Any]:
        """Run the model, and return some of its values by name."""
        with running():
            return dict(zip(names, self._session.run(list(names), dict(feeds)), strict=True))
