"""Rescaling symmetries and canonical forms as text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import RenderableType

from pathlift.cli.render import Payload, table

ROWS = 12
"""How many groups of neurons are listed; ``--format json`` has them all."""


def canonicalize(payload: Payload) -> Iterator[RenderableType]:
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
        yield from fixed(payload["rescaling"])
    if payload["output"] is not None:
        yield f"wrote {payload['output']}"


def compare(payload: Payload) -> Iterator[RenderableType]:
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
        yield f"channels are in another order in {_names(nodes).strip()}" if nodes else "no channel moved"


def symmetry(rescaling: Payload) -> Iterator[RenderableType]:
    """Yield which neurons can be rescaled freely, and what fixes the scale of others."""
    groups: Sequence[Payload] = rescaling["classes"]
    yield table(
        ["rescaling symmetries", "free scales"],
        [["all", f"{rescaling['free']:,}"], *([_names(g["nodes"]), f"{g['count']:,}"] for g in groups[:ROWS])],
        right=["free scales"],
    )
    yield from _more(len(groups) - ROWS)
    yield from fixed(rescaling)


def fixed(rescaling: Payload) -> Iterator[RenderableType]:
    """Yield what fixes scales at 1, and which parameters tie them."""
    pins = [[f"{p['node']} ({p['op']})", f"{p['count']:,}", p["reason"]] for p in rescaling["pinned"]]
    pins += [
        [t["parameter"], f"{t['count']:,}", "is used at several depths, which ties or fixes the scales around it"]
        for t in rescaling["tied"]
    ]
    if pins:
        yield ""
        yield table(["scales are fixed by", "count", "since"], pins[:ROWS], right=["count"])
        yield from _more(len(pins) - ROWS)


def _names(nodes: Sequence[str]) -> str:
    shown = ", ".join(nodes[:3])
    return f"  {shown}" + (f" and {len(nodes) - 3} more" if len(nodes) > 3 else "")


def _more(rest: int) -> Iterator[RenderableType]:
    if rest > 0:
        yield f"  and {rest} more, which --format json lists"
