"""Signatures as users of Python read them: an extension of Griffe that drops what is said to the command line."""

from __future__ import annotations

from typing import Any

import griffe


class Plain(griffe.Extension):
    """Write ``Annotated[T, ...]`` as ``T``."""

    def on_function(self, *, func: griffe.Function, **_: Any) -> None:
        for parameter in func.parameters:
            annotation = parameter.annotation
            if isinstance(annotation, griffe.ExprSubscript) and str(annotation.left) == "Annotated":
                inside = annotation.slice
                parameter.annotation = inside.elements[0] if isinstance(inside, griffe.ExprTuple) else inside
