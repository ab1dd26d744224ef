"""Parameters that a node computes from its weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pathlift.ir.errors import InvalidModelError

if TYPE_CHECKING:
    from pathlift.ir.graph import Node


@dataclass(frozen=True)
class NormScale:
    """γ/√(var+ε), the scale of a frozen batch norm, on arrays or tensors: as IEEE has it, whatever the variance.

    Parameters
    ----------
    epsilon
        ε.
    """

    epsilon: float

    def __call__(self, gamma: Any, var: Any) -> Any:
        return gamma / (var + self.epsilon) ** 0.5

    def check(self, node: Node, var: Any) -> None:
        """Check that a real number is what the scale is.

        Raises
        ------
        InvalidModelError
            If a variance plus ε is not positive; names the node.
        """
        if bool((var + self.epsilon <= 0).any()):
            where = f"node {node.label!r} ({node.op})"
            raise InvalidModelError("0183", f"{where}: a variance plus epsilon is not positive")

    def checked(self, node: Node) -> Callable[..., Any]:
        """Return the scale for who computes with real numbers: whenever it is asked for, its variance is checked."""

        def scale(gamma: Any, var: Any) -> Any:
            self.check(node, var)
            return self(gamma, var)

        return scale
