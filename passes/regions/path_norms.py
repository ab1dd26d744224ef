"""Path-norms of a network's supported regions, each as a network of its own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from pathlift.ir.errors import UnsupportedError
from pathlift.ir.graph import Graph
from pathlift.passes.path_norm.path_norm import PathNorm
from pathlift.passes.path_norm.result import PathNormResult
from pathlift.passes.path_norm.support import support
from pathlift.passes.regions.supported import Region, Skipped, supported_regions
from pathlift.passes.rewrites.strip_head import StripHead

ONES = (
    "each region's inputs are fed with ones, independent of each other; figures of regions do not multiply to one of "
    "the network"
)
_REASONS_SHOWN = 3


@dataclass(frozen=True)
class RegionNorms:
    """A region, and its path-norms as those of a network of its own."""

    region: Region
    analysis: PathNormResult

    def to_json(self, *, full: bool = False) -> dict[str, Any]:
        """Return plain JSON types; `full` is that of `Norm.to_json`."""
        region = self.region
        return {
            "inputs": list(map(asdict, region.starts)),
            "outputs": [asdict(end) | {"read_by": list(map(asdict, end.read_by))} for end in region.ends],
            "nodes": len(region.nodes),
            "layers": list(region.layers),
            "norms": [norm.to_json(full=full) for norm in self.analysis.norms],
            "assumptions": list(self.analysis.assumptions),
        }


@dataclass(frozen=True)
class RegionsResult:
    """The path-norms of all regions.

    Parameters
    ----------
    regions
        Those that have some, at least one.
    skipped
        Those that have none.
    assumptions
        What was read as what.
    """

    regions: tuple[RegionNorms, ...]
    skipped: tuple[Skipped, ...]
    assumptions: tuple[str, ...]

    @property
    def warnings(self) -> tuple[str, ...]:
        """One sentence for each region that has no path-norm."""
        return tuple(f"the region of {_span(r.layers)} has no path-norm: {r.reason}" for r in self.skipped)

    def to_json(self, *, full: bool = False) -> dict[str, Any]:
        """Return plain JSON types; `full` is that of `Norm.to_json`."""
        return {
            "regions": [region.to_json(full=full) for region in self.regions],
            "skipped": [{"nodes": len(r.nodes), "layers": list(r.layers), "reason": r.reason} for r in self.skipped],
        }


def region_norms(graph: Graph, options: PathNorm) -> RegionsResult:
    """Compute the path-norms of each region.

    Parameters
    ----------
    graph
        The network.
    options
        Of each path-norm; extents of symbolic dimensions are those of the network.

    Raises
    ------
    UnsupportedError
        If no region has a path-norm; says why.
    InvalidModelError
        If a weight of a region is NaN or infinite.
    UsageError
        If an extent is missing.
    """
    regions = supported_regions(graph, dict(options.shape))
    found: list[RegionNorms] = []
    skipped = list(regions.skipped)
    for region in regions.found:
        try:
            found.append(RegionNorms(region, replace(options, shape=()).run(region.graph)))
        except UnsupportedError as refusal:
            skipped.append(Skipped(region.nodes, region.layers, str(refusal)))
    if not found:
        raise _nothing(graph, skipped)
    return RegionsResult(tuple(found), tuple(skipped), (*regions.assumptions, ONES))


def _span(layers: Sequence[str]) -> str:
    return repr(layers[0]) if len(layers) == 1 else f"{layers[0]!r} to {layers[-1]!r}"


def _nothing(graph: Graph, skipped: Iterable[Skipped]) -> UnsupportedError:
    reasons = [f"{_span(region.layers)}: {region.reason}" for region in skipped]
    if not reasons:
        refused = support(StripHead().run(graph).graph).refused
        reasons = [str(refusal) for refusal in refused.values()] or ["no node has weights"]
    shown = "; ".join(reasons[:_REASONS_SHOWN])
    rest = f"; and {len(reasons) - _REASONS_SHOWN} more" if len(reasons) > _REASONS_SHOWN else ""
    return UnsupportedError("0319", f"no region has a path-norm: {shown}{rest}")
