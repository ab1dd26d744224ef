"""Programs of ONNX operators that are carried as they are: what certificates know of an ``Opaque`` node."""

from __future__ import annotations

import importlib

from pathlift.ir.programs.onnx.registry import PROGRAMS, program_of

for _family in ("arithmetic", "reductions", "normalization", "indexing", "recurrent", "sampling", "attention"):
    importlib.import_module(f"pathlift.ir.programs.onnx.{_family}")

__all__ = ["PROGRAMS", "program_of"]
