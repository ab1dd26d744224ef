"""Moving along a rescaling symmetry: the rescaled graph, and the witness that it is one."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from pathlift.ir.errors import WitnessError
from pathlift.ir.graph import Graph, Value
from pathlift.ir.types import Array, Param, float_limits, is_float
from pathlift.passes.base import Rewritten, Witness
from pathlift.passes.channels.symmetry import Symmetry
from pathlift.passes.rescaling.factors import Factors, scaled_param
from pathlift.passes.witness.multiples import check_multiples

_SAMPLE = 2**16
"""Values of a parameter that the witness looks at."""


@dataclass(frozen=True, eq=False)
class RescalingWitness(Witness):
    """One positive factor per class of neurons.

    Checked is that nothing but parameters changed, that each weight (of large parameters, a sample of them) is what the
    factors make of it up to rounding, and, whatever the classes are, that the function stays: by evaluating both graphs
    node by node (`pathlift.passes.witness.multiples`).

    Parameters
    ----------
    symmetry
        The classes.
    factors
        The factors.
    lift
        Of a normal form: binary logarithm of the norm that each class has now, where it is not 1.
    """

    symmetry: Symmetry
    factors: Factors
    lift: Array | None = None

    def check(self, before: Graph, after: Graph) -> None:
        if before is after:
            return
        if before.outputs != after.outputs or dict(before.nx.adjacency()) != dict(after.nx.adjacency()):
            raise WitnessError("0804", "the rescaling changed more than parameters")
        scales = self.symmetry.scales()
        for key in before.order:
            a, b = before[key], after[key]
            if replace(a, value=None) != replace(b, value=None):
                raise WitnessError("0804", f"the rescaling changed more than the value of {a.label!r}")
            if a.value is None or a.value is b.value:
                continue
            if id(a.value) not in scales or b.value is None:
                raise WitnessError("0804", f"the rescaling changed {a.names[0]!r}, which has no free factor")
            use = scales[id(a.value)]
            stride = max(1, -(-a.value.size // _SAMPLE))
            where = np.unravel_index(np.arange(0, a.value.size, stride), a.value.shape or (1,))
            times, over = (np.broadcast_to(x, a.value.shape or (1,))[where] for x in (use.scale.times, use.scale.over))
            dead = self.factors.dead & (not use.scale.divides)
            self._check_values(a.names[0], a.value.every(stride), b.value.every(stride), times, over, dead)
        check_multiples("the rescaling", before, after, self.factors.log2())

    def _check_values(self, name: str, old: Array, new: Array, times: Array, over: Array, dead: Array) -> None:
        """Compare in logarithms: nothing over- or underflows there."""
        f = self.factors
        gone = dead[times] | dead[over]
        if (new[gone] != 0).any() or ((old == 0) & (new != 0)).any() or (np.sign(old) * np.sign(new) < 0).any():
            raise WitnessError("0804", f"{name!r} is not rescaled by its factors")
        kept, limits = (old != 0) & ~gone, float_limits(new.dtype)
        (m_old, e_old), (m_new, e_new) = np.frexp(old[kept].astype(np.float64)), np.frexp(new[kept].astype(np.float64))
        exponents = e_old + f.e[times[kept]] - f.e[over[kept]]
        expected = m_old * f.m[times[kept]] / f.m[over[kept]]
        with np.errstate(over="ignore", under="ignore"):
            found = np.ldexp(m_new, e_new - exponents)
            step = np.ldexp(float(limits.smallest_subnormal), -exponents)  # what lies between the smallest numbers
        if not (np.abs(found - expected) <= 4 * float(limits.eps) * np.abs(expected) + step).all():
            raise WitnessError("0804", f"{name!r} is not rescaled by its factors")

    def describe(self) -> str:
        logs = self.factors.log2()[1:][~self.factors.dead[1:]]
        if not len(logs):
            return "no neuron can be rescaled"
        dead = int(self.factors.dead.sum())
        if self.factors.trivial:
            return f"{self.symmetry.count} classes of neurons, all in place"
        what = f"{self.symmetry.count} classes of neurons rescaled by 2^{logs.min():.2f} to 2^{logs.max():.2f}"
        if dead:
            what += f", {dead} of them dead: their weights are 0"
        if self.lift is not None and self.lift.any():
            what += (
                f"; to norms of 2^{self.lift.min()} to 2^{self.lift.max()}, for norm 1 is beyond the weights' format"
            )
        return what


def rescaled(graph: Graph, symmetry: Symmetry, factors: Factors, *, lift: Array | None = None) -> Rewritten:
    """Multiply every weight by the factor of the neuron it leads to, and divide it by that of the one it reads.

    Parameters
    ----------
    graph
        The graph whose symmetry it is.
    symmetry, factors, lift
        The classes of neurons, and their factors; what the witness says of them.

    Returns
    -------
    Rewritten
        New weights are computed when they are asked for; tied ones stay tied. The graph itself, if nothing changes.
    """
    scales, new = symmetry.scales(), dict[int, Param]()
    builder = graph.edit()
    for key in graph.params:
        value = graph[key].value
        use = scales.get(id(value))
        if use is None or value is None or not is_float(value.dtype) or not factors.changes(use.scale):
            continue
        builder.replace_node(Value(key), value=new.setdefault(id(value), scaled_param(factors, use)))
    return Rewritten(builder.finish() if new else graph, RescalingWitness(symmetry, factors, lift))
