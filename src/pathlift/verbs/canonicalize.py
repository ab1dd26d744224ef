"""The canonical form of a model among all its neuron-wise rescalings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from pathlift.ir.limits import MEMORY_LIMIT
from pathlift.models.options import AssumeEval, Flag, Force, MemoryLimit, Model, ModelOutput, Shape
from pathlift.report.result import Result
from pathlift.report.symmetries import fixed_scales
from pathlift.report.tables import Payload

if TYPE_CHECKING:
    from rich.console import RenderableType

    from pathlift.ir.graph import Graph
    from pathlift.passes.channels.symmetry import Symmetry


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
    symmetry: Symmetry
    dead: int
    log2_factors: tuple[float, float] | None
    output: str | None

    def to_json(self) -> dict[str, Any]:
        return {
            "norm": self.norm,
            "exact": self.exact,
            "changed": self.changed,
            "rescaling": self.symmetry.to_json(),
            "dead": self.dead,
            "log2_factors": None if self.log2_factors is None else list(self.log2_factors),
            "output": self.output,
        }

    def headline(self) -> str:
        return f"{self.norm}, {'changed' if self.changed else 'unchanged'}"


def canonicalize(
    model: Model,
    *,
    norm: Annotated[str, Flag(metavar="NORM")] = "l1",
    exact: Annotated[bool, Flag()] = False,
    shape: Shape = None,
    output: ModelOutput = None,
    force: Force = False,
    memory_limit: MemoryLimit = MEMORY_LIMIT,
    assume_eval: AssumeEval = False,
    example: Any = None,
) -> CanonicalizeResult:
    """Rescale neurons to the form that every rescaled copy of a network shares.

    Parameters
    ----------
    model
        A path, bytes, a ModelProto, a `Graph`, or a ``torch.nn.Module`` (then `example` is needed).
    norm
        l1, l2, lq:Q, balanced or path-conditioned. ``l1``, ``l2``, ``lq:Q``: every neuron's paths from the inputs have
        Lq-norm 1 (arXiv 2310.01225). ``balanced``: the least sum of squared weights (arXiv 1902.10416).
        ``path-conditioned``: the best conditioned diagonal of the path-lifting's Gram matrix (arXiv 2602.19799), of
        networks that have path-norms.
    exact
        By powers of two, which round nothing: outputs stay the same to the last bit, save where a layer that changes
        has to be spelled anew (a Gemm with ``alpha``).
    shape
        Fill in symbolic dimensions, for path-conditioned. Extents by name.
    output
        The file to write: ONNX, or a text if it ends in .plir; - for standard output, where ONNX goes.
    force
        Replace output files that exist.
    memory_limit
        Refuse larger tensors and models. In bytes.
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
    from pathlift.models.source import extents, open_model
    from pathlift.passes.pipeline import run_pipeline
    from pathlift.passes.rescaling.canonicalize import Canonicalize
    from pathlift.passes.rescaling.rescaled import RescalingWitness

    canonical = Canonicalize(norm=norm, exact=exact, shape=extents(shape))
    opened = open_model(model, memory_limit=memory_limit, assume_eval=assume_eval, example=example)
    graph, (step,) = run_pipeline(opened.graph, [canonical])
    witness = step.rewritten.witness
    assert isinstance(witness, RescalingWitness)
    written = None
    if output is not None:
        from pathlift.models.output import write_model

        written = write_model(graph, output, force=force)
    factors = witness.factors
    logs = factors.log2()[1:][~factors.dead[1:]]
    return CanonicalizeResult(
        input=opened.source,
        warnings=(*opened.warnings, *(written.rounded if written else ())),
        graph=graph,
        norm=norm,
        exact=exact,
        changed=step.changed,
        symmetry=witness.symmetry,
        dead=int(factors.dead.sum()),
        log2_factors=(float(logs.min()), float(logs.max())) if len(logs) else None,
        output=written and written.name,
    )


def text(payload: Payload) -> Iterator[RenderableType]:
    """Yield what was rescaled, by how much, what could not be, and what was written."""
    free, pinned = payload["rescaling"]["free"], sum(p["count"] for p in payload["rescaling"]["pinned"])
    what = f"{payload['norm']}{', by powers of two' if payload['exact'] else ''}"
    if not free:
        yield "no neuron of this model can be rescaled"
    elif not payload["changed"]:
        yield f"{free:,} free scales, all in canonical form ({what}) already"
    else:
        low, high = payload["log2_factors"] or (0.0, 0.0)
        yield f"{free:,} free scales brought to canonical form ({what}): factors from 2^{low:.2f} to 2^{high:.2f}"
    if payload["dead"]:
        yield f"{payload['dead']:,} of them carry nothing: the weights around them are 0 now"
    if pinned or payload["rescaling"]["tied"]:
        yield from fixed_scales(payload["rescaling"])
    yield "nothing is written: --output FILE.onnx does" if payload["output"] is None else f"wrote {payload['output']}"
