"""The text form of a graph: one line per node, printed and parsed; what tests and bug reports are made of.

::

    graph "mlp" {ir_version=10, opset=18}
    %x = Input : f32[N, 2]
    %w = Param {value=[[1.0, -2.0], [0.5, inf]]} : f32[2, 2]
    %k = Param : f32[64, 3, 7, 7]
    %h = Gemm(%x, %w) : f32[N, 2]  # loc: fc1
    %"gpu 0/a", %b = Split(%h) {axis=1, parts=[1, 1]} : f32[N, 1], f32[N, 1]
    return %"gpu 0/a", %b

A value is ``%name``, quoted where the name is not plain; ``_`` is an input left out, or an output without a name.
Types may be left out (they are inferred) and are checked where they are given. A parameter has its values inline, or is
the ``same`` one as an earlier node's (tied), or has them as bytes (``data=b64"…"``), in a file beside the text
(``file="mlp.plir.data", offset=4096``), or from the caller. ``# loc:`` holds the ONNX nodes that a node
stands for, and their doc string and metadata; any other ``#`` starts a comment.
"""

from __future__ import annotations

from pathlift.ir.text.parser import parse_graph
from pathlift.ir.text.printer import print_graph

__all__ = ["parse_graph", "print_graph"]
