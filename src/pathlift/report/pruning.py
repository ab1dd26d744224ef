"""Results of pruning: what went, what that costs, and what is proved of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from decimal import ROUND_CEILING
from typing import TYPE_CHECKING, Any

from pathlift.report.distance import place
from pathlift.report.result import Result
from pathlift.report.tables import Bar, Payload, at_least, at_most, byte_size, fixed, percent, scaled, table

if TYPE_CHECKING:
    from rich.console import RenderableType

    from pathlift.ir.graph import Graph
    from pathlift.passes.path_metric.result import PathMetric
    from pathlift.passes.pruning.compensation import Compensated
    from pathlift.passes.pruning.masks import Pruned
    from pathlift.report.distance import DistanceResult
    from pathlift.report.page import Page

SLOW = (
    "zeros are multiplied like other numbers, and gain no time: --channels gives smaller tensors, and --pattern ks:K "
    "smaller products (`opt -p ks-replace`)"
)
SAME = "the smaller network computes the same as the one with zeros in place of channels, whose cost is told"


@dataclass(frozen=True)
class Sizes:
    """What a network takes up, before and after.

    Parameters
    ----------
    channels
        Outputs of layers, by the name of their weights.
    flops
        Operations of a sample; ``None`` where an extent is not known.
    bytes
        Of its weights.
    """

    channels: Mapping[str, tuple[int, int]]
    flops: tuple[int | None, int | None]
    bytes: tuple[int, int]

    @property
    def fewer(self) -> bool:
        """Whether a layer has fewer channels."""
        return any(before > after for before, after in self.channels.values())


@dataclass(frozen=True)
class PruningCertificate:
    """How far a pruned network can be from what it was.

    Parameters
    ----------
    metric
        ‖Φ(θ) − Φ(θ')‖₁, or a bound where weights were refitted; ``None`` if path metrics do not cover the network.
    norm_log10
        log10 of ‖Φ(θ)‖₁, if there is a metric.
    refused
        Why there is none.
    on_domain
        What `compare` proves on a domain, if one was given.
    """

    metric: PathMetric | None = None
    norm_log10: float | None = None
    refused: str = ""
    on_domain: DistanceResult | None = field(default=None)

    @property
    def relative(self) -> float | None:
        """The metric as a share of ‖Φ(θ)‖₁."""
        if self.metric is None or self.norm_log10 is None:
            return None
        log10 = self.metric.l1.log10
        return 0.0 if log10 is None else float(10.0 ** (log10 - self.norm_log10))

    @property
    def assumptions(self) -> tuple[str, ...]:
        """What it rests on."""
        metric = self.metric.assumptions if self.metric else ()
        return (*metric, *(self.on_domain.assumptions if self.on_domain else ()))

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON types."""
        found: dict[str, Any] = {"refused": self.refused or None, "path_metric": None, "domain": None}
        if self.metric is not None:
            figures = {name: getattr(self.metric, name).to_json() for name in ("l1", "linf")}
            about = {"case": self.metric.case, "is_path_metric": self.metric.is_path_metric}
            found["path_metric"] = {**about, **figures, "norm_log10": self.norm_log10, "relative": self.relative}
        if self.on_domain is not None:
            told = self.on_domain.to_json()
            bound = {key: told["bound"][key] for key in ("l1", "linf", "method", "method_linf")}
            sampled = {key: told[key] for key in ("sampled_max_l1", "sampled_max_linf", "vacuous")}
            found["domain"] = {**told["domain"], **bound, **sampled}
        return found


@dataclass(frozen=True, kw_only=True)
class PruneResult(Result):
    """The pruned graph, what went, and what that costs.

    Parameters
    ----------
    graph
        Without the channels that carry nothing.
    masked
        With zeros in their place: of the same nodes and shapes as before, as masks are. It computes the same.
    criterion
        By which weights were chosen; ``masks`` for given ones.
    requested
        The sparsity that was asked for; ``None`` where masks or N:M say it.
    pruned
        Masks by parameter, and counts per layer.
    certificate
        What is proved of the difference.
    refit
        By how much layers' outputs are off before and after the refit, if one was asked for.
    target
        What the sparsity of channels was a share of; ``None`` where single weights were pruned.
    sizes
        What the network takes up, before and after.
    files
        Names of the files that were written, by what is in them; bytes of weights, dense and sparse.
    """

    graph: Graph
    masked: Graph
    criterion: str
    requested: float | None
    pruned: Pruned
    certificate: PruningCertificate
    refit: Compensated | None = None
    target: str | None = None
    sizes: Sizes
    files: Mapping[str, Any] = field(default_factory=dict)

    ROWS = ("layers",)

    def to_json(self) -> dict[str, Any]:
        layers = [
            {
                "node": layer.node, "parameter": layer.parameter, "total": layer.total, "zeroed": layer.zeroed,
                "channels": _change(self.sizes.channels.get(layer.parameter, (None, None))),
            }
            for layer in self.pruned.layers
        ]  # fmt: skip
        return {
            "criterion": self.criterion,
            "sparsity_requested": self.requested,
            "sparsity": self.pruned.sparsity,
            "total": self.pruned.total,
            "zeroed": self.pruned.zeroed,
            "layers": layers,
            "channels": self._channels(),
            "kept": [{"node": node, "reason": reason} for node, reason in self.pruned.kept.items()],
            "compensation": None if self.refit is None else [asdict(layer) for layer in self.refit.layers.values()],
            "certificate": self.certificate.to_json(),
            "output": None,
            **self.files,
        }

    def headline(self) -> str:
        return f"{self.pruned.zeroed:,} of {self.pruned.total:,} weights are zero, by {self.criterion}"

    def chart(self) -> Page | None:
        from pathlift.report.row_chart import Panel, row_chart

        layers = [layer for layer in self.pruned.layers if layer.total]
        zeros = Panel("zeros among the weights [%]", [100 * x.zeroed / x.total for x in layers], limits=(0, 100))
        sizes = Panel("weights", [x.total for x in layers], "{:,.0f}")
        return row_chart([x.node for x in layers], f"pruned by {self.criterion}", [zeros, sizes])

    def _channels(self) -> dict[str, Any] | None:
        """What it brings that channels are gone, if some are."""
        if not self.sizes.fewer:
            return None
        return {"target": self.target, "flops": _change(self.sizes.flops), "bytes": _change(self.sizes.bytes)}


def _change(pair: tuple[int | None, int | None]) -> dict[str, int | None]:
    return {"before": pair[0], "after": pair[1]}


def text(payload: Payload) -> Iterator[RenderableType]:
    """Yield a row per layer, what is zero in all, what that costs, and what was written."""
    figures = ["weights", "zero", "share"]
    smaller = payload["channels"]
    counts = ["channels"] if smaller else []
    refit = {layer["parameter"]: layer for layer in payload["compensation"] or ()}
    off = ["outputs off by", "refitted"] if refit else []
    rows: list[list[str | Bar]] = [
        [
            layer["node"], f"{layer['total']:,}", f"{layer['zeroed']:,}", percent(layer["zeroed"] / layer["total"]),
            *(_channels_text(layer["channels"]) for _ in counts),
            *(percent(refit[layer["parameter"]][when], ".3g") for when in ("before", "after") if refit),
            Bar(layer["zeroed"] / layer["total"]),
        ]
        for layer in payload["layers"] if layer["total"]
    ]  # fmt: skip
    yield table(["layer", *figures, *counts, *off, ""], rows, right=[*figures, *counts, *off], less=["zero", "weights"])
    for layer in refit.values():
        if layer["reason"]:
            yield f"{layer['parameter']} is not refitted: {layer['reason']}"
    for kept in payload["kept"]:
        yield f"{kept['node']} stays as it is: {kept['reason']}"
    share = percent(payload["sparsity"], ".4g")
    yield f"{payload['zeroed']:,} of {payload['total']:,} weights are zero ({share}), by {payload['criterion']}"
    yield from _certificate_text(payload["certificate"])
    sizes = payload["bytes"]
    thin = f", or {byte_size(sizes['sparse'])} with sparse initializers" if sizes["sparse"] < sizes["dense"] else ""
    yield f"weights take {byte_size(sizes['dense'])}{thin}"
    if smaller:
        yield from _smaller_text(smaller, bool(payload.get("masks")))
    if payload["zeroed"] and (not smaller or smaller["target"] is None):
        yield SLOW
    if payload["output"]:
        yield f"wrote {payload['output']} ({byte_size(payload['file_bytes'])})"
    if payload.get("masks"):
        yield f"wrote {payload['masks']}"


def _channels_text(channels: Payload) -> str:
    before, after = channels["before"], channels["after"]
    if before is None:  # biases
        return ""
    return f"{before:,}" if before == after else f"{before:,} → {after:,}"


def _smaller_text(told: Payload, masks: bool) -> Iterator[str]:
    flops, size = told["flops"], told["bytes"]
    known = None not in (flops["before"], flops["after"])
    work = f"{scaled(flops['after'])} of {scaled(flops['before'])} flops and " if known else ""
    what = "these channels are gone" if told["target"] else "channels that zeros cut off are gone (--keep-dead)"
    yield f"{what}: {work}{byte_size(size['after'])} of {byte_size(size['before'])} of weights are left"
    yield SAME + ("; so are masks" if masks else "")


def _certificate_text(told: Payload) -> Iterator[str]:
    if told["refused"]:
        yield f"nothing is proved of what this costs: {told['refused']}"
    if metric := told["path_metric"]:
        share = f"{percent(metric['relative'], '.3g')} of ‖Φ(θ)‖₁"
        if metric["is_path_metric"]:
            yield f"‖Φ(θ) − Φ(θ')‖₁ = {_figure(metric['l1'])}, {share}"
        yield f"outputs differ by at most {_upper(metric['l1'])} in sum where ‖x‖∞ ≤ 1" + (
            "" if metric["is_path_metric"] else f", {share}"
        )
    if domain := told["domain"]:
        bound = f"at most {at_most(domain['l1'])} ({domain['method']})" if domain["l1"] is not None else "without bound"
        yield f"{place(domain)}, they differ by {bound} in sum; found: {at_least(domain['sampled_max_l1'])}"


def _upper(figure: Payload) -> str:
    if figure["upper"] is not None:
        return at_most(figure["upper"])
    return f"10^{fixed(figure['upper_log10'], ROUND_CEILING)}"


def _figure(figure: Payload) -> str:
    if figure["log10"] is None:
        return "0"
    return f"10^{figure['log10']:.4f}" if figure["value"] is None else f"{figure['value']:.4g}"
