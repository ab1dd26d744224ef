"""The path-norms of a network's supported regions, each as a network of its own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from pathlift.ir.errors import UnsupportedError
from pathlift.ir.graph import Graph
from pathlift.models.source import Opened
from pathlift.passes.path_norm.path_norm import PathNorm, PathNormResult
from pathlift.passes.path_norm.support import support
from pathlift.passes.regions.supported import Skipped, supported_regions
from pathlift.passes.rewrites.strip_head import StripHead
from pathlift.verbs.norm_result import NormResult, RegionNorms

ONES = (
    "each region's inputs are fed with ones, independent of each other; figures of regions do not multiply to one of "
    "the network"
)
_REASONS_SHOWN = 3


def norm_of_regions(opened: Opened, options: PathNorm, *, full: bool) -> NormResult:
    """Compute the path-norms of each region.

    Parameters
    ----------
    opened
        The network.
    options
        Of each path-norm; extents of symbolic dimensions are those of the network.
    full
        As for `NormResult`.

    Raises
    ------
    UnsupportedError
        If no region has a path-norm; says why.
    InvalidModelError
        If a weight of a region is NaN or infinite.
    UsageError
        If an extent is missing.
    """
    regions = supported_regions(opened.graph, dict(options.shape))
    found: list[RegionNorms] = []
    skipped = list(regions.skipped)
    for region in regions.found:
        try:
            found.append(RegionNorms(region, replace(options, shape=()).run(region.graph)))
        except UnsupportedError as refusal:
            skipped.append(Skipped(region.nodes, region.layers, str(refusal)))
    if not found:
        raise _nothing(opened.graph, skipped)
    assumptions = (*regions.assumptions, ONES)
    return NormResult(
        input=opened.source,
        assumptions=assumptions,
        warnings=(*opened.warnings, *map(_warning, skipped)),
        analysis=PathNormResult((), (), assumptions),
        regions=tuple(found),
        skipped=tuple(skipped),
        full=full,
    )


def _warning(region: Skipped) -> str:
    return f"the region of {_span(region.layers)} has no path-norm: {region.reason}"


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
