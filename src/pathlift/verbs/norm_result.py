"""The result of `pathlift.norm`, and its JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from math import isinf
from typing import TYPE_CHECKING, Any

from pathlift.ir.errors import UsageError
from pathlift.passes.heaviest_path.result import HeaviestPathResult
from pathlift.passes.path_norm.result import LayerNorm, Norm, PathNormResult
from pathlift.passes.regions.supported import Region, Skipped
from pathlift.report.result import Result

if TYPE_CHECKING:
    from torch import Tensor

PER_OUTPUT_LIMIT = 10_000


@dataclass(frozen=True)
class RegionNorms:
    """A region, and its path-norms as those of a network of its own."""

    region: Region
    analysis: PathNormResult


@dataclass(frozen=True, kw_only=True)
class NormResult(Result):
    """Path-norms, as `pathlift.passes.path_norm.path_norm.PathNormResult` holds them.

    Parameters
    ----------
    analysis
        Of the whole network; without norms, if its regions were asked for.
    regions, skipped
        The network's regions, if asked for, and those that have no path-norm.
    heaviest_path
        The path whose product of weights is ‖Φ‖_∞, if asked for.
    files
        Names of the files that were written, by what is in them: ``weights``, ``chart``.
    full
        Whether the JSON lists per-output figures past 10,000 outputs too.
    """

    analysis: PathNormResult
    regions: tuple[RegionNorms, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    heaviest_path: HeaviestPathResult | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    full: bool = False

    @property
    def norms(self) -> tuple[Norm, ...]:
        """One per q."""
        return self.analysis.norms

    @property
    def value(self) -> float | None:
        """The first norm's value; ``None`` where a float64 cannot hold it."""
        return self._first.value

    @property
    def log10(self) -> float | None:
        """The first norm's decimal logarithm; ``None`` if the norm is zero."""
        return self._first.log10

    @property
    def _first(self) -> Norm:
        if not self.norms:
            hint = "result.regions[0].analysis.norms[0]"
            raise UsageError("0429", "regions have norms of their own; there is none of the network", hint=hint)
        return self.norms[0]

    def to_json(self) -> dict[str, Any]:
        result: dict[str, Any] = {"norms": self._norms(self.analysis)}
        if self.analysis.layers:
            result["layers"] = list(map(_layer, self.analysis.layers))
        if self.regions:
            result["regions"] = list(map(self._region, self.regions))
            result["skipped"] = [_skipped(region) for region in self.skipped]
        if self.heaviest_path is not None:
            result["heaviest_path"] = _path(self.heaviest_path)
        return {**result, **self.files}

    def _norms(self, analysis: PathNormResult) -> list[dict[str, Any]]:
        return [
            {
                "q": _exponent(norm.q),
                "mixed": None if norm.mixed is None else _exponent(norm.mixed),
                "log10": norm.log10,
                "value": norm.value,
                "upper_log10": norm.upper_log10,
                "pooling": norm.pooling,
                "is_path_norm": norm.is_path_norm,
                "zero": norm.zero,
                "outputs": {name: self._per_output(logs) for name, logs in norm.outputs.items()},
            }
            for norm in analysis.norms
        ]

    def _per_output(self, logs: Tensor) -> dict[str, Any]:
        if logs.numel() > PER_OUTPUT_LIMIT and not self.full:
            return {}
        return {"per_output_log10": [None if isinf(v) else v for v in logs.reshape(-1).tolist()]}

    def _region(self, item: RegionNorms) -> dict[str, Any]:
        region = item.region
        return {
            "inputs": list(map(asdict, region.starts)),
            "outputs": [asdict(end) | {"read_by": list(map(asdict, end.read_by))} for end in region.ends],
            "nodes": len(region.nodes),
            "layers": list(region.layers),
            "norms": self._norms(item.analysis),
            "assumptions": list(item.analysis.assumptions),
        }


def _exponent(q: float) -> float | str:
    return "inf" if isinf(q) else q


def _layer(layer: LayerNorm) -> dict[str, Any]:
    return {"node": layer.node, "share": layer.share, "log10_gain": layer.log10_gain}


def _path(path: HeaviestPathResult) -> dict[str, Any]:
    # The result of a verb repeats what its analyses assumed.
    return {key: value for key, value in asdict(path).items() if key != "assumptions"}


def _skipped(region: Skipped) -> dict[str, Any]:
    return {"nodes": len(region.nodes), "layers": list(region.layers), "reason": region.reason}
