"""The verb `bound`: what can be guaranteed of a network, with everything that the guarantee is made of."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pathlift.ir.errors import UsageError
from pathlift.ir.limits import MEMORY_LIMIT
from pathlift.ir.stages import stage
from pathlift.models import parse
from pathlift.models.options import AssumeEval, At, Domain, Flag, Force, MemoryLimit, Model, Radius, Shape
from pathlift.report.result import Result
from pathlift.report.tables import Payload, at_most, fixed, table
from pathlift.verbs.bounds import KINDS
from pathlift.verbs.bounds.kind import Bound, Options

if TYPE_CHECKING:
    from rich.console import RenderableType

    from pathlift.report.page import Page


@dataclass(frozen=True, kw_only=True)
class BoundResult(Result):
    """A bound.

    Parameters
    ----------
    kind
        Which.
    bound
        The figures.
    """

    kind: str
    bound: Bound

    def to_json(self) -> dict[str, Any]:
        b = self.bound
        return {
            "kind": self.kind,
            **b.figures,
            "log10": b.log10,
            "value": b.value,
            "terms": {symbol: term.value for symbol, term in b.terms.items()},
            "vacuous": b.vacuous,
            "verdict": b.verdict,
        }

    def headline(self) -> str:
        if self.bound.log10 is None:
            return f"{self.kind} 0"
        return f"{self.kind} " + (_upwards(self.bound.log10) if self.bound.value is None else f"{self.bound.value:.6g}")

    def records(self) -> list[dict[str, Any]]:
        terms = self.bound.terms.items()
        lists = [t.value for _, t in terms if isinstance(t.value, list) and t.value and isinstance(t.value[0], Mapping)]
        if lists:
            return [dict(row) for row in lists[0]]
        return [{"term": name, "value": t.value, "meaning": t.meaning} for name, t in terms]

    def chart(self) -> Page | None:
        module = import_module(KINDS[self.kind])
        return module.chart(self.to_json()) if hasattr(module, "chart") else None

    def for_text(self) -> dict[str, Any]:
        return self.to_json() | {"meanings": {symbol: term.meaning for symbol, term in self.bound.terms.items()}}


def bound(
    model: Model,
    *,
    kind: Annotated[
        Literal["generalization", "pac-bayes", "product", "lipschitz", "robustness"], Flag(required=True)
    ] = "generalization",
    data: Annotated[str | os.PathLike[str] | Mapping[str, Any] | None, Flag(metavar="FILE.npz", type=Path)] = None,
    samples: Annotated[int | None, Flag(metavar="N")] = None,
    input_bound: Annotated[float | None, Flag(metavar="B")] = None,
    loss: Annotated[Literal["cross-entropy", "margin"] | None, Flag(default="cross-entropy")] = None,
    margin: Annotated[float | None, Flag(metavar="GAMMA")] = None,
    delta: Annotated[float | None, Flag(metavar="P", default="0.05")] = None,
    draws: Annotated[int | None, Flag(metavar="N", default="300")] = None,
    seed: Annotated[int | None, Flag(metavar="N", default="0", type=int, read=parse.seed)] = None,
    norm: Annotated[Literal["linf", "l1", "l2"] | None, Flag(default="linf; l2 of a product")] = None,
    domain: Domain = None,
    at: At = None,
    radius: Radius = None,
    budget: Annotated[float | None, Flag(metavar="SECONDS", default="30")] = None,
    witness: Annotated[str | os.PathLike[str] | None, Flag(metavar="FILE.npz", type=Path)] = None,
    force: Force = False,
    shape: Shape = None,
    memory_limit: MemoryLimit = MEMORY_LIMIT,
    assume_eval: AssumeEval = False,
    example: Any = None,
) -> BoundResult:
    """Bound a network's generalization error, its Lipschitz constant, or what small changes of inputs may do.

    Every constant is in the result, and whether the bound says anything at all.

    Parameters
    ----------
    model
        A path, bytes, a ModelProto, a `Graph`, or a ``torch.nn.Module`` (then `example` is needed).
    kind
        What is bounded. ``generalization``: the gap between the loss on new data and that on samples, by the path-norm.
        ``pac-bayes``: the error of the network with noise on its weights. ``lipschitz``: the Lipschitz constant, by all
        methods there are. ``product``: by the product of the layers' operator norms. ``robustness``: whether the class
        of samples can change within a radius.
    data
        Labelled samples: an .npz file of inputs x and classes y. Or arrays by name.
    samples
        Number of samples, where there are no data.
    input_bound
        Largest absolute value of an input. By default that of the data, else 1.
    loss
        Loss of the generalization bound: cross-entropy or margin.
    margin
        Margin up to which scores count as wrong. For the loss ``margin``.
    delta
        Probability that the bound may fail.
    draws
        Draws of noise. More of them make a PAC-Bayes bound tighter.
    seed
        Seed of all that is random.
    norm
        Norm of a Lipschitz constant: linf or l2 of inputs and outputs, or l1 of outputs and linf of inputs.
    domain
        What an input lies in: x=LO:HI, or x=FILE.npz with arrays low and high. A Lipschitz constant is that of the
        whole space by default.
    at
        Samples to look around, by input. An ``.npz`` file, or arrays. For ``robustness``, y may hold their classes.
    radius
        How far any element of a sample may move. The domain is then what inputs stay within.
    budget
        Seconds to search, in all. Cheap bounds are computed whatever it is.
    witness
        Where inputs that change a sample's class are written.
    force
        Replace output files that exist.
    shape
        Fill in symbolic dimensions. Extents by name; the batch needs none.
    memory_limit
        Refuse larger tensors and models. In bytes.
    assume_eval
        Read training-mode layers as in evaluation.
    example
        For a module: the shape of its input, or one shape or tensor per input.

    Raises
    ------
    PathliftError
        With the exit code of the command line: 2 usage, 3 invalid model, 4 unsupported.

    References
    ----------
    Gonon, Brisebarre, Riccietti, Gribonval, "A path-norm toolkit for modern networks", arXiv 2310.01225; Rouchouse et
    al., "Non-Vacuous Generalization Bounds: Can Rescaling Invariances Help?", arXiv 2509.26149.
    """
    from pathlift.models.source import extents, open_model

    if kind not in KINDS:
        raise UsageError("1481", f"there is no kind of bound {kind!r}", hint=", ".join(KINDS))
    options = Options(
        data=data, samples=samples, input_bound=input_bound, loss=loss, margin=margin, delta=delta, draws=draws,
        seed=seed, norm=norm, domain=domain, at=at, radius=radius, budget=budget, witness=witness,
        force=force or None, shape=extents(shape), memory_limit=memory_limit,
    )  # fmt: skip
    module = import_module(KINDS[kind])
    for option in fields(options):
        if option.name in module.OPTIONS or option.name in ("shape", "memory_limit"):
            continue
        if getattr(options, option.name) is not None:
            raise UsageError("1481", f"--kind {kind} takes no --{option.name.replace('_', '-')}")
    opened = open_model(model, memory_limit=memory_limit, assume_eval=assume_eval, example=example, shape=options.shape)
    with stage(f"bound: {kind}"):
        found: Bound = module.compute(opened.graph, replace(options, shape=opened.shape))
    return BoundResult(
        input=opened.source, assumptions=found.assumptions, warnings=opened.warnings, kind=kind, bound=found,
        exit_code=found.exit_code,
    )  # fmt: skip


def text(payload: Payload) -> Iterator[RenderableType]:
    """Yield the bound, its constants with their meanings, and whether it says anything."""
    shown = getattr(import_module(KINDS[payload["kind"]]), "text", _text)
    yield from shown(payload)


def _text(payload: Payload) -> Iterator[RenderableType]:
    yield table(
        ["bound", "log10", "value"],
        [[payload["kind"], _upwards(payload["log10"]), at_most(payload["value"], 6)]],
        right=["log10", "value"],
    )
    yield ""
    rows = [(symbol, value, payload["meanings"][symbol]) for symbol, value in payload["terms"].items()]
    flat = [[symbol, _shown(value), meaning] for symbol, value, meaning in rows if not isinstance(value, list)]
    yield table(["term", "value", "meaning"], flat, right=["value"])
    for symbol, value, meaning in rows:
        if isinstance(value, list) and value:
            yield ""
            yield table([symbol, *list(value[0])[1:], meaning], [[*map(_shown, item.values()), ""] for item in value])
    yield ""
    yield payload["verdict"]


def _upwards(value: float | None) -> str:
    from decimal import ROUND_CEILING

    return fixed(value, ROUND_CEILING)


def _shown(value: Any) -> str:
    return "-" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)
