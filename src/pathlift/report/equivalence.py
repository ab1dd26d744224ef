"""Equivalence of two models up to symmetries of their weights: the result, and its text."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from pathlift.report.result import Result, Source
from pathlift.report.symmetries import node_names
from pathlift.report.tables import Payload

if TYPE_CHECKING:
    from rich.console import RenderableType

    from pathlift.passes.equivalence.factors import Rescaling
    from pathlift.passes.equivalence.outcome import Equivalence, Verdict


@dataclass(frozen=True, kw_only=True)
class EquivalenceResult(Result):
    """The answer, and what turns one model into the other or where they differ.

    Parameters
    ----------
    other
        The second file.
    modulo
        The symmetries that were allowed.
    tolerance
        The largest relative difference of two weights that counts as none.
    equivalence
        What was found.
    """

    other: Source
    modulo: tuple[str, ...]
    tolerance: float
    equivalence: Equivalence

    @property
    def verdict(self) -> Verdict:
        """The answer: ``equivalent``, ``different`` or ``inconclusive``."""
        return self.equivalence.verdict

    def to_json(self) -> dict[str, Any]:
        found = self.equivalence
        moved = found.permutation.channels() if found.permutation is not None else {}
        return {
            "other": {"path": self.other.path, "sha256": self.other.sha256},
            "modulo": list(self.modulo),
            "tolerance": self.tolerance,
            "verdict": self.verdict,
            "reason": found.reason or None,
            "largest_difference": _finite(found.largest),
            "difference": None if found.difference is None else _difference(found),
            "rescaling": _rescaling_json(found.rescaling) if found.rescaling is not None else None,
            "permutation": [{"node": node, "image": image.tolist()} for node, image in moved.items()]
            if found.permutation is not None
            else None,
        }

    def headline(self) -> str:
        return f"{self.equivalence.verdict} (modulo {' and '.join(self.modulo) or 'nothing'})"


def _finite(value: float | None) -> float | None:
    return value if value is not None and value < float("inf") else None


def _difference(found: Equivalence) -> dict[str, Any]:
    told = asdict(found.difference) if found.difference is not None else {}
    # JSON has no NaN or infinity.
    values = told["values"] and [
        v if not isinstance(v, float) or abs(v) < float("inf") else None for v in told["values"]
    ]
    return told | {"index": told["index"] and list(told["index"]), "values": values}


def _rescaling_json(rescaling: Rescaling) -> list[dict[str, Any]]:
    """By the nodes that compute them, the binary logarithms of the neurons' factors; null where no weight tells."""
    groups: dict[tuple[str, ...], list[float | None]] = {}
    for number, nodes in rescaling.symmetry.writers().items():
        log2 = float(rescaling.log2[number])
        groups.setdefault(nodes, []).append(None if log2 != log2 else log2)
    return [{"nodes": list(nodes), "log2_factors": logs} for nodes, logs in groups.items()]


def text(payload: Payload) -> Iterator[RenderableType]:
    """Yield the answer, and the witness or the first difference."""
    modulo = " and ".join(payload["modulo"]) or "nothing: equal weights"
    largest = payload["largest_difference"]
    if payload["verdict"] == "different":
        yield f"different (modulo {modulo})"
        yield payload["difference"]["message"]
        return
    if payload["verdict"] == "inconclusive":
        yield f"inconclusive (modulo {modulo}): {payload['reason']}"
        return
    agree = "" if largest is None else f": all weights agree to {largest:.2g}, within {payload['tolerance']:g}"
    yield f"equivalent (modulo {modulo}){agree}"
    logs = [x for group in payload["rescaling"] or [] for x in group["log2_factors"] if x is not None]
    if logs:
        yield f"{len(logs):,} neurons of the first are rescaled by 2^{min(logs):.2f} to 2^{max(logs):.2f}"
    if payload["permutation"] is not None:
        nodes = [p["node"] for p in payload["permutation"]]
        yield f"channels are in another order in {node_names(nodes).strip()}" if nodes else "no channel moved"
