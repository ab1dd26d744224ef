"""The path-norms of a network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isinf
from numbers import Integral, Real
from typing import Any, Literal

from pathlift.ir.errors import UsageError
from pathlift.ir.types import MEMORY_LIMIT
from pathlift.passes.path_norm import Norm, PathNorm, PathNormResult
from pathlift.verbs.result import Result
from pathlift.verbs.source import Model, open_model

PER_OUTPUT_LIMIT = 10_000


@dataclass(frozen=True, kw_only=True)
class NormResult(Result):
    """Path-norms, as `pathlift.passes.path_norm.PathNormResult` holds them."""

    analysis: PathNormResult
    full: bool = False

    @property
    def norms(self) -> tuple[Norm, ...]:
        """One per q."""
        return self.analysis.norms

    @property
    def value(self) -> float | None:
        """The first norm's value; ``None`` where a float64 cannot hold it."""
        return self.norms[0].value

    @property
    def log10(self) -> float | None:
        """The first norm's decimal logarithm; ``None`` if the norm is zero."""
        return self.norms[0].log10

    def to_json(self) -> dict[str, Any]:
        result: dict[str, Any] = {"norms": [self._norm(n) for n in self.norms]}
        if self.analysis.layers:
            result["layers"] = [
                {"node": layer.node, "share": layer.share, "log10_gain": layer.log10_gain}
                for layer in self.analysis.layers
            ]
        return result

    def _norm(self, norm: Norm) -> dict[str, Any]:
        return {
            "q": "inf" if isinf(norm.q) else norm.q,
            "log10": norm.log10,
            "value": norm.value,
            "upper_log10": norm.upper_log10,
            "pooling": norm.pooling,
            "is_path_norm": norm.is_path_norm,
            "zero": norm.zero,
            "outputs": {name: self._per_output(logs) for name, logs in norm.outputs.items()},
        }

    def _per_output(self, logs: Any) -> dict[str, Any]:
        if logs.numel() > PER_OUTPUT_LIMIT and not self.full:
            return {}
        return {"per_output_log10": [None if isinf(v) else v for v in logs.reshape(-1).tolist()]}


def norm(
    model: Model,
    *,
    q: float | Sequence[float] = 1.0,
    pooling: Literal["sum", "max"] = "sum",
    inputs_only: bool = False,
    dtype: Literal["float64", "float32"] = "float64",
    shape: Mapping[str, int] | None = None,
    per_layer: bool = False,
    full: bool = False,
    memory_limit: int = MEMORY_LIMIT,
    assume_eval: bool = False,
    example: Any = None,
) -> NormResult:
    """Compute the path-norms ‖Φ(θ)‖_q of a network.

    Parameters
    ----------
    model
        A path, bytes, a ModelProto, a `Graph`, or a ``torch.nn.Module`` (then `example` is needed).
    q
        One exponent between 1e-6 and 1e6, or several.
    pooling
        ``sum``: the path-norm. ``max``: pools as maxima, a smaller bound for Lipschitz purposes that is no path-norm.
    inputs_only
        Leave out the paths that start at a bias.
    dtype
        Of the computation; exponents are tracked, so neither overflows.
    shape
        Extents of symbolic dimensions, by name. The batch needs none.
    per_layer
        Also compute each layer's share and gain.
    full
        List per-output figures past 10,000 outputs too.
    memory_limit
        Bytes that no tensor may pass.
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
    try:
        qs = (float(q),) if isinstance(q, Real) else tuple(map(float, q))  # type: ignore[arg-type]
    except (TypeError, ValueError) as error:
        raise UsageError("0422", f"q is {q!r}, not an exponent or a list of them", hint="q=[1, 2]") from error
    if not isinstance(shape, Mapping | None) or not all(isinstance(n, Integral) for n in (shape or {}).values()):
        raise UsageError("0423", f"shape is {shape!r}, not extents by name", hint='shape={"H": 224}')
    opened = open_model(model, memory_limit=memory_limit, assume_eval=assume_eval, example=example)
    analysis = PathNorm(
        qs, pooling, inputs_only, dtype, per_layer, tuple((shape or {}).items()), memory_limit
    ).run(opened.graph)  # fmt: skip
    return NormResult(
        input=opened.source, assumptions=analysis.assumptions, warnings=opened.warnings, analysis=analysis, full=full
    )
