"""Which activations a path-norm can be read through, decided without running anything (and without torch)."""

from __future__ import annotations

from collections.abc import Sequence

from pathlift.ir.errors import UnsupportedError
from pathlift.ir.graph import Graph
from pathlift.ir.interpret import run
from pathlift.ir.primitives import Activation, Nonlinear
from pathlift.ir.shape import Shape
from pathlift.ir.types import ValueType
from pathlift.passes.strip_head import StripHead

_HINT = "path-norms know ReLU-like activations, and bound Clip and Tanh"


def check_activation(f: Activation) -> bool:
    """Whether an activation is part of the path-lifting theorem (homogeneous), or is read as a bound.

    A 1-Lipschitz activation with f(0) = 0 satisfies |f(x)| ≤ |x|, and Clip satisfies |f(x)| ≤ |x| + |f(0)|: reading
    them as ReLU (with a bias |f(0)|) bounds magnitudes and Lipschitz constants. Quantizers are read as the identity.

    Returns
    -------
    bool
        True if exact, False if a bound.

    Raises
    ------
    UnsupportedError
        For all others.
    """
    if f.homogeneous:
        return True
    if f.name in ("Clip", "FakeQuantize") or (f.lipschitz <= 1 and f.at_zero == 0):
        return False
    raise UnsupportedError("0315", f"{f.name} inside the network is not homogeneous, nor bounded by |x|", hint=_HINT)


class _Support(Shape):
    """Shape inference that remembers what a path-norm would refuse, and goes on."""

    def __init__(self) -> None:
        self.refusals: list[UnsupportedError] = []

    def _refuse(self, refusal: UnsupportedError) -> None:
        assert self.node is not None
        self.refusals.append(refusal.at(self.node.label, str(self.node.attrs.get("op_type", self.node.op))))

    def gate(self, x: ValueType, f: Activation, *params: ValueType) -> ValueType:
        try:
            check_activation(f)
        except UnsupportedError as refusal:
            self._refuse(refusal)
        return super().gate(x, f, *params)

    def apply(self, f: Nonlinear, xs: Sequence[ValueType | None], types: Sequence[ValueType]) -> tuple[ValueType, ...]:
        self._refuse(UnsupportedError("0304", f.reason, hint=f.hint))
        return super().apply(f, xs, types)


def refusals(graph: Graph) -> list[UnsupportedError]:
    """Return every refusal that stands between a graph and its path-norm, in topological order."""
    stripped = StripHead().run(graph).graph
    support = _Support()
    run(stripped, support, {stripped[key].names[0]: stripped[key].types[0] for key in stripped.inputs})
    return support.refusals
