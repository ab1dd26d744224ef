"""The path-norms of a network."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, field
from math import inf
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pathlift.ir.errors import UnsupportedError, UsageError
from pathlift.ir.limits import MEMORY_LIMIT
from pathlift.ir.stages import stage
from pathlift.models import parse
from pathlift.models.norms import LocalNorms, exponents, local_norms, outer_exponent, output_files
from pathlift.models.options import AssumeEval, DeviceOption, Domain, Flag, Force, MemoryLimit, Model, Shape
from pathlift.report.norms import heaviest_path_text, layer_table, norm_table, regions_text
from pathlift.report.result import Result
from pathlift.report.tables import Payload, more

if TYPE_CHECKING:
    from rich.console import RenderableType

    from pathlift.models.source import Opened
    from pathlift.passes.heaviest_path.result import HeaviestPathResult
    from pathlift.passes.path_norm.path_norm import PathNorm
    from pathlift.passes.path_norm.result import LayerNorm, Norm, PathNormResult
    from pathlift.passes.regions.path_norms import RegionNorms, RegionsResult
    from pathlift.passes.regions.supported import Skipped
    from pathlift.report.page import Page


@dataclass(frozen=True, kw_only=True)
class NormResult(Result):
    """Path-norms, as `pathlift.passes.path_norm.result.PathNormResult` holds them.

    Parameters
    ----------
    analysis
        Of the whole network; without norms, if its regions were asked for.
    by_region
        The network's regions, and those that have no path-norm, if asked for.
    heaviest_path
        The path whose product of weights is ‖Φ‖_∞, if asked for.
    local
        Of the network as it is on a domain, if one was given.
    files
        Names of the files that were written, by what is in them: ``weights``, ``chart``.
    full
        Whether the JSON lists per-output figures past 10,000 outputs too.
    top, sort
        How many layers tables and charts show, 0 for all, and in which order.
    """

    analysis: PathNormResult
    by_region: RegionsResult | None = None
    heaviest_path: HeaviestPathResult | None = None
    local: LocalNorms | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    full: bool = False
    top: int = 0
    sort: Literal["order", "gain", "share"] = "order"

    ROWS = ("layers", "norms")

    @property
    def norms(self) -> tuple[Norm, ...]:
        """One per q."""
        return self.analysis.norms

    @property
    def regions(self) -> tuple[RegionNorms, ...]:
        """The regions that have path-norms, if asked for."""
        return () if self.by_region is None else self.by_region.regions

    @property
    def skipped(self) -> tuple[Skipped, ...]:
        """The regions that have none."""
        return () if self.by_region is None else self.by_region.skipped

    @property
    def value(self) -> float | None:
        """The norm's value, if there is one norm; ``None`` where a float64 cannot hold it."""
        return self._only.value

    @property
    def log10(self) -> float | None:
        """The norm's decimal logarithm, if there is one norm; ``None`` if it is zero."""
        return self._only.log10

    @property
    def _only(self) -> Norm:
        if not self.norms:
            hint = "result.regions[0].analysis.norms[0]"
            raise UsageError("0429", "regions have norms of their own; there is none of the network", hint=hint)
        if len(self.norms) > 1:
            given = ", ".join(f"{norm.q:g}" for norm in self.norms)
            raise UsageError("1428", f"there is a norm for each of q = {given}", hint="result.norms[0]")
        return self.norms[0]

    def to_json(self) -> dict[str, Any]:
        result = self.analysis.to_json(full=self.full)
        if self.by_region is not None:
            result |= self.by_region.to_json(full=self.full)
        if self.heaviest_path is not None:
            result["heaviest_path"] = self.heaviest_path.to_json()
        if self.local is not None:
            result["local"] = self.local.to_json(full=self.full)
        return {**result, **self.files}

    def for_text(self) -> dict[str, Any]:
        return self.to_json() | {"shown": [layer.to_json() for layer in self.shown_layers()], "sort": self.sort}

    def shown_layers(self) -> list[LayerNorm]:
        """Return the layers that tables and charts show, in the order asked for; equal ones as the network has them."""
        layers = list(self.analysis.layers)
        if self.sort != "order":
            figure = attrgetter("log10_gain" if self.sort == "gain" else "share")
            layers.sort(key=lambda layer: -inf if figure(layer) is None else figure(layer), reverse=True)
        return layers[: self.top or None]

    def headline(self) -> str:
        if not self.norms:
            return f"{len(self.regions)} regions"
        return ", ".join(f"q={n.q:g}: " + ("0" if n.log10 is None else f"10^{n.log10:.6f}") for n in self.norms)

    def records(self) -> list[dict[str, Any]]:
        if self.by_region is None:
            return super().records()
        return [
            {"region": i, "first": r.region.layers[0], "last": r.region.layers[-1], "nodes": len(r.region.nodes), **row}
            for i, r in enumerate(self.regions)
            for row in dataclasses.replace(self, analysis=r.analysis, by_region=None).records()
        ]

    def chart(self) -> Page | None:
        return self._layers_chart() if self.analysis.layers else None

    def _layers_chart(self) -> Page:
        from pathlift.report.charts import draw_chart

        return draw_chart(self.shown_layers(), self.norms[0], Path(self.input.path or "the network").name)


def norm(
    model: Model,
    *,
    q: Annotated[float | Sequence[float], Flag(metavar="Q,...", read=parse.exponents, write=parse.exponent_text)] = 1.0,
    mixed: Annotated[float | None, Flag(metavar="R")] = None,
    pooling: Annotated[Literal["sum", "max"], Flag()] = "sum",
    inputs_only: Annotated[bool, Flag()] = False,
    dtype: Annotated[Literal["float64", "float32"], Flag()] = "float64",
    device: DeviceOption = "cpu",
    shape: Shape = None,
    per_layer: Annotated[bool, Flag()] = False,
    top: Annotated[int, Flag(metavar="N", default="all")] = 0,
    sort: Annotated[Literal["order", "gain", "share"], Flag()] = "order",
    per_weight: bool = False,
    heaviest_path: Annotated[bool, Flag()] = False,
    regions: Annotated[bool, Flag()] = False,
    domain: Domain = None,
    recentre: Annotated[bool, Flag()] = False,
    weights: Annotated[str | os.PathLike[str] | None, Flag(metavar="FILE.npz", type=Path)] = None,
    chart: Annotated[str | os.PathLike[str] | None, Flag(metavar="FILE", type=Path)] = None,
    force: Force = False,
    full: Annotated[bool, Flag()] = False,
    memory_limit: MemoryLimit = MEMORY_LIMIT,
    assume_eval: AssumeEval = False,
    example: Any = None,
) -> NormResult:
    """Compute the path-norms of a network.

    An output that the model lists twice counts twice: it returns it twice. (Of a region, every value counts once.)

    Parameters
    ----------
    model
        A path, bytes, a ModelProto, a `Graph`, or a ``torch.nn.Module`` (then `example` is needed).
    q
        Exponents: 0, inf, or between 1e-6 and 1e6. One, or several; 0 is the number of non-zero paths, ∞ the largest
        absolute product along a path.
    mixed
        Combine the q-norms of the outputs by an R-norm. It is ‖Φ‖_{q,R}; R is between 1e-6 and 1e6, or ∞.
    pooling
        How paths that meet in a pooling window combine. ``sum``: the path-norm. ``max``: pools as maxima, a smaller
        bound for Lipschitz purposes that is no path-norm.
    inputs_only
        Leave out paths that start at a bias.
    dtype
        Compute in this precision. Exponents are tracked, so that neither overflows.
    device
        Compute on cpu, cuda, cuda:0, ...
    shape
        Fill in symbolic dimensions. Extents by name; the batch needs none.
    per_layer
        Show each layer's gain, the norm so far, and its share where paths branch. Of the first q.
    top
        Show so many layers. In tables and charts; JSON has all.
    sort
        Show layers in the network's order, or those with the largest gain or share first.
    per_weight
        Also compute each weight's share, for the first q: ``result.analysis.weights``.
    heaviest_path
        Show the path with the largest product of weights. By magnitude: ``result.heaviest_path``.
    regions
        Compute the norms of each supported part of the network, on its own. As those of a network:
        ``result.regions``. There are no norms of the whole then.
    domain
        Also bound the network on a box of inputs. Norms of what it is there, ``{"x": (0, 1)}``, beside its own:
        ``result.local``.
    recentre
        On the domain, count inputs from its middle.
    weights
        Write each weight's share, by parameter name. An .npz file.
    chart
        Draw the layers' gains and shares: .svg, .png or .pdf. Needs ``pathlift[plot]``.
    force
        Replace output files that exist.
    full
        List per-output figures past 10,000 outputs too.
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
    Gonon, Brisebarre, Riccietti, Gribonval, "A path-norm toolkit for modern networks", arXiv 2310.01225.
    """
    from pathlift.models.source import extents, open_model
    from pathlift.passes.path_norm.path_norm import PathNorm

    options = PathNorm(
        q=exponents(q),
        mixed=outer_exponent(mixed),
        pooling=pooling,
        inputs_only=inputs_only,
        dtype=dtype,
        device=str(device),
        shape=extents(shape),
        per_layer=per_layer or chart is not None or top > 0 or sort != "order",
        per_weight=per_weight or weights is not None,
        memory_limit=memory_limit,
    )
    if regions and (options.per_layer or options.per_weight or heaviest_path or domain is not None):
        reason = (
            "of regions there are norms alone: no shares of layers or weights, no chart, no heaviest path, no domain"
        )
        raise UsageError("0445", reason, hint="ask for one or the other")
    options.check()
    if top < 0:
        raise UsageError("1419", f"{top} layers cannot be shown", hint="a positive number; 0 for all")
    files = output_files(weights, chart)
    opened = open_model(model, memory_limit=memory_limit, assume_eval=assume_eval, example=example, shape=options.shape)
    options = dataclasses.replace(options, shape=opened.shape)
    if regions:
        return _of_regions(opened, options, full=full)
    local = local_norms(opened.graph, options, domain, recentre=recentre)
    shown = {"full": full, "top": top, "sort": sort}
    result = _of_network(opened, options, heaviest_path, files, shown, force=force)
    return dataclasses.replace(result, local=local, assumptions=_joined(result.assumptions, local))


def _joined(assumptions: tuple[str, ...], local: LocalNorms | None) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*assumptions, *(local.assumptions if local else ()))))


def _of_regions(opened: Opened, options: PathNorm, *, full: bool) -> NormResult:
    from pathlift.passes.path_norm.result import PathNormResult
    from pathlift.passes.regions.path_norms import region_norms

    found = region_norms(opened.graph, options)
    return NormResult(
        input=opened.source,
        assumptions=found.assumptions,
        warnings=(*opened.warnings, *found.warnings),
        analysis=PathNormResult((), (), found.assumptions),
        by_region=found,
        full=full,
    )


def _of_network(
    opened: Opened,
    options: PathNorm,
    heaviest_path: bool,
    files: Mapping[str, str],
    shown: Mapping[str, Any],
    *,
    force: bool,
) -> NormResult:
    """Compute the norms, and write files once all is computed; `shown` is how the result is shown."""
    from pathlift.frontend.files import replacing
    from pathlift.passes.heaviest_path.heaviest_path import HeaviestPath
    from pathlift.report.arrays import save_weights

    with ExitStack() as stack:
        staged = {what: stack.enter_context(replacing(path, force=force)) for what, path in files.items()}
        try:
            analysis = options.run(opened.graph)
        except UnsupportedError as refusal:
            if refusal.node:  # the others may be fine
                hints = [refusal.hint, "--regions gives the norms of the supported parts"]
                refusal.hint = "; ".join(filter(None, hints))
            raise
        heaviest = HeaviestPath(options.shape, options.memory_limit, options.inputs_only) if heaviest_path else None
        with stage("heaviest path") if heaviest is not None else nullcontext():
            path = None if heaviest is None else heaviest.run(opened.graph)
        result = NormResult(
            input=opened.source,
            assumptions=tuple(dict.fromkeys([*analysis.assumptions, *(path.assumptions if path else ())])),
            warnings=opened.warnings,
            analysis=analysis,
            heaviest_path=path,
            files=files,
            **shown,
        )
        if "weights" in staged:
            save_weights(staged["weights"], analysis.weights)
        if "chart" in staged:
            from pathlift.report.page import save_chart

            save_chart(result._layers_chart(), staged["chart"])
    return result


def text(payload: Payload) -> Iterator[RenderableType]:
    """Yield the norms, or those of the regions; then the layers' shares, the heaviest path, and what was written."""
    if "regions" in payload:
        yield from regions_text(payload["regions"], payload["skipped"])
    else:
        yield norm_table(payload["norms"], payload.get("local", {}).get("norms", ()))
    if "layers" in payload:
        yield ""
        shown = payload["shown"] if "shown" in payload else payload["layers"]
        yield layer_table(shown, payload["norms"][0], grouped=payload.get("sort", "order") == "order")
        yield from more(len(payload["layers"]) - len(shown))
    if path := payload.get("heaviest_path"):
        yield ""
        yield from heaviest_path_text(path)
    yield from (f"wrote {payload[what]}" for what in ("weights", "chart") if what in payload)
