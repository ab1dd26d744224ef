"""The canonical form of a model among all its neuron-wise rescalings."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pathlift.ir.graph import Graph
from pathlift.ir.types import MEMORY_LIMIT
from pathlift.models.source import Model, extents, open_model
from pathlift.report.result import Result


@dataclass(frozen=True, kw_only=True)
class CanonicalizeResult(Result):
    """The rescaled graph, and by what it was rescaled.

    Parameters
    ----------
    graph
        With new weights, which are computed when they are asked for.
    norm, exact
        As asked.
    changed
        Whether any weight changed; false if the model was in canonical form.
    symmetry
        What is free and what is not, as `pathlift.inspect` reports it.
    dead
        How many neurons carry nothing; the weights around them are 0.
    log2_factors
        The least and the largest binary logarithm of the other neurons' factors; ``None`` if there are none.
    output
        Where the model was written.
    """

    graph: Graph
    norm: str
    exact: bool
    changed: bool
    symmetry: dict[str, Any]
    dead: int
    log2_factors: tuple[float, float] | None
    output: str | None

    def to_json(self) -> dict[str, Any]:
        return {
            "norm": self.norm,
            "exact": self.exact,
            "changed": self.changed,
            "rescaling": self.symmetry,
            "dead": self.dead,
            "log2_factors": None if self.log2_factors is None else list(self.log2_factors),
            "output": self.output,
        }


def canonicalize(
    model: Model,
    *,
    norm: str = "l1",
    exact: bool = False,
    shape: Mapping[str, int] | None = None,
    output: str | os.PathLike[str] | None = None,
    force: bool = False,
    memory_limit: int = MEMORY_LIMIT,
    assume_eval: bool = False,
    example: Any = None,
) -> CanonicalizeResult:
    """Rescale neurons so that every rescaled copy of a model ends up with the same weights.

    Parameters
    ----------
    model
        A path, bytes, a ModelProto, a `Graph`, or a ``torch.nn.Module`` (then `example` is needed).
    norm
        ``l1``, ``l2`` or ``lq:Q``: every neuron's paths from the inputs have Lq-norm 1 (arXiv 2310.01225).
        ``balanced``: the least sum of squared weights (arXiv 1902.10416). ``path-conditioned``: the best conditioned
        diagonal of the path-lifting's Gram matrix (arXiv 2602.19799), of networks that have path-norms.
    exact
        Round factors to powers of two: outputs stay the same to the last bit.
    shape
        For ``path-conditioned``, extents of symbolic dimensions.
    output
        Where to write the result as ONNX; nowhere if None.
    force
        Replace `output` if it exists.
    memory_limit
        Bytes that no tensor may pass.
    assume_eval
        Read training-mode layers as in evaluation.
    example
        For a module: the shape of its input, or one shape or tensor per input.

    Raises
    ------
    PathliftError
        If the model cannot be read, a weight is NaN or infinite, a weight's format cannot hold its new value, or the
        output cannot be written.
    """
    from pathlift.passes.pipeline import run_pipeline
    from pathlift.passes.rescaling.canonicalize import Canonicalize
    from pathlift.passes.rescaling.rescaled import Rescaling
    from pathlift.verbs.rescaling import rescaling_json

    canonical = Canonicalize(norm=norm, exact=exact, shape=extents(shape))
    opened = open_model(model, memory_limit=memory_limit, assume_eval=assume_eval, example=example)
    graph, (step,) = run_pipeline(opened.graph, [canonical])
    witness = step.rewritten.witness
    assert isinstance(witness, Rescaling)
    if output is not None:
        from pathlift.frontend.save import save

        save(graph, output, force=force)
    factors = witness.factors
    logs = factors.log2()[1:][~factors.dead[1:]]
    return CanonicalizeResult(
        input=opened.source,
        warnings=opened.warnings,
        graph=graph,
        norm=norm,
        exact=exact,
        changed=step.changed,
        symmetry=rescaling_json(witness.symmetry),
        dead=int(factors.dead.sum()),
        log2_factors=(float(logs.min()), float(logs.max())) if len(logs) else None,
        output=None if output is None else os.fspath(output),
    )
