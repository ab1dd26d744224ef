"""From the IR back to ONNX nodes: one short function per op, and the choice of the opset.

What nothing touched is written as the file has it (`pathlift.frontend.emit.spelling`), in the opset of the file. Where
an op has to be spelled anew, the model gets at least opset 13: since then ONNX takes axes, splits and softmax the way
the IR does, so that nothing older has to be spelled. A model that came from no file gets 18. Only an op that asks for a
newer version (`Site.require`: Gelu, a dilated average pool, 4-bit quantization) raises it further. The
opset is not raised for convenience, because opaque nodes are written for the version they came with: one whose
operator changed in between is carried over only where that is known to keep its meaning (`pathlift.frontend.emit.
versions`), and refused by name elsewhere. ONNX's own version converter is trusted only for the operators where it
merely turns an attribute into an input: it silently changes what others compute (GroupNormalization, Upsample).
"""

from __future__ import annotations

import importlib

from pathlift.frontend.emit.writer import EMISSIONS, Emitted, emit

for _family in ("linear", "kronecker", "pointwise", "pooling", "structure", "opaque"):
    importlib.import_module(f"pathlift.frontend.emit.{_family}")

__all__ = ["EMISSIONS", "Emitted", "emit"]
