"""Path-norms as text: tables of norms, of layers, of regions, and of the heaviest path, from their JSON."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from decimal import ROUND_CEILING
from itertools import takewhile
from typing import TYPE_CHECKING

from pathlift.report.layout import Bar, Cell
from pathlift.report.tables import Payload, fixed, number, percent, table

if TYPE_CHECKING:
    from rich.console import RenderableType

    from pathlift.report.layout import Table


_PART = re.compile(r"[^./]*[./]")
"""Of a name, up to and with the separator after it."""


def norm_table(norms: Sequence[Payload], local: Sequence[Payload] = ()) -> Table:
    """Return one row per norm, with its upper bound; then those of the network on a domain."""
    exponents = "q" if all(item["mixed"] is None for item in norms) else "‖Φ‖_{q,r}"
    rows = []
    for item, where in [*((n, "") for n in norms), *((n, ", on the domain") for n in local)]:
        what = f"{item['pooling']} pooling{where}" + ("" if item["is_path_norm"] else ", not a path-norm")
        # A value past float64 is null.
        value = f"10^{fixed(item['log10'])}" if item["value"] is None else f"{item['value']:.6g}"
        rows.append([_exponent(item), fixed(item["log10"]), "0" if item["zero"] else value, _at_most(item), what])
    figures = [exponents, "log10", "value", "at most"]
    return table([*figures, ""], rows, right=figures, less=["value"])


def layer_table(layers: Sequence[Payload], norm: Payload, *, grouped: bool) -> Table:
    """Return one row per layer, with its gain, the norm so far, and its share where not all paths pass through.

    Parameters
    ----------
    layers
        Those to show, in the order given.
    norm
        Of which they are shares.
    grouped
        Whether layers next to each other stand under the name of their block.
    """
    shares = [percent(item["share"]) for item in layers]
    branches = any(share not in ("100.0 %", "-") for share in shares)
    names = _grouped([item["node"] for item in layers]) if grouped else [([], item["node"]) for item in layers]
    figures = ["log10 gain", "log10 so far", *["share"] * branches]
    rows: list[list[Cell]] = []
    for (blocks, name), item, share in zip(names, layers, shares, strict=True):
        rows += [[block, *[""] * (len(figures) + branches)] for block in blocks]
        of_paths: list[Cell] = [share, Bar(item["share"] or 0.0)] if branches else []
        rows.append([name, fixed(item["log10_gain"]), fixed(item.get("log10")), *of_paths])
    headings = [f"layer (q = {number(norm['q'])})", *figures, *[""] * branches]
    return table(headings, rows, right=figures, less=["log10 so far"])


def _grouped(names: Sequence[str]) -> list[tuple[list[str], str]]:
    """Return for each name the heading before it, if a block starts, and what to call it within its block.

    A block is a run of two or more layers whose dotted names (or paths) start alike.
    """
    found: list[tuple[list[str], str]] = []
    block = ""
    for name, following in zip(names, [*names[1:], ""], strict=False):
        heading: list[str] = []
        if not block or not name.startswith(block):
            block = _common(name, following)
            heading = [block.rstrip("./")] if block else []
        found.append((heading, f"  {name[len(block) :]}" if block else name))
    return found


def _common(a: str, b: str) -> str:
    """Return the parts with which two names start alike, up to and with the separator after them."""
    parts = zip(*(_PART.findall(name) for name in (a, b)), strict=False)
    same = "".join(x for x, y in takewhile(lambda pair: pair[0] == pair[1], parts))
    return same if same.strip("./") else ""


def _exponent(norm: Payload) -> str:
    """The exponent of a norm, or both of a mixed one."""
    return ",".join(number(q) for q in (norm["q"], norm["mixed"]) if q is not None)


def _at_most(norm: Payload) -> str:
    """An upper bound, which is never rounded down."""
    if norm["zero"]:
        return "0"
    upper = norm["upper_log10"]
    return "-" if upper is None else f"10^{fixed(upper, ROUND_CEILING)}"


def regions_text(regions: Sequence[Payload], skipped: Sequence[Payload]) -> Iterator[RenderableType]:
    """Yield one row per region, those without norms last, and what the norms of each rest on."""
    norms = regions[0]["norms"]
    letters = "q" if norms[0]["mixed"] is None else "q,r"
    figures = [heading for item in norms for heading in (f"log10 ({letters} = {_exponent(item)})", "at most")]
    rows = []
    for region in regions:
        logs = [cell for item in region["norms"] for cell in (fixed(item["log10"]), _at_most(item))]
        what = "" if all(item["is_path_norm"] for item in region["norms"]) else "not a path-norm"
        starts = ", ".join(map(_start, region["inputs"]))
        rows.append([_span(region["layers"]), str(region["nodes"]), *logs, what, starts])
    for region in skipped:
        rows.append([_span(region["layers"]), str(region["nodes"]), *["-"] * len(figures), "skipped", ""])
    yield table(
        ["layers", "nodes", *figures, "", "starts at"], rows, right=["nodes", *figures], less=["nodes", "starts at"]
    )
    for region in regions:
        yield from (f"in {_span(region['layers'])}: {assumption}" for assumption in region["assumptions"])


def _span(layers: Sequence[str]) -> str:
    return layers[0] if len(layers) == 1 else f"{layers[0]} … {layers[-1]}"


def _start(value: Payload) -> str:
    return f"{value['name']} ← {value['cut_by']['op']}" if value["cut_by"] else str(value["name"])


def heaviest_path_text(path: Payload) -> Iterator[RenderableType]:
    """Yield where the path ends, and one row per factor."""
    if path["log10"] is None:
        yield "no path has a non-zero weight"
        return
    yield f"heaviest path, to {path['output']}{path['position']}: log10 {fixed(path['log10'])}"
    rows = [
        [item["node"], item["op"], _element(item), f"{item['value']:.6g}"] for item in [path["start"], *path["steps"]]
    ]
    yield table(["node", "op", "weight", "value"], rows, right=["value"], less=["op"])


def _element(factor: Payload) -> str:
    """The element of a tensor that a path starts at or is multiplied by."""
    name = factor["node"] if factor["op"] == "Input" else factor["parameter"]
    return f"{name}{list(factor['index'])}" if name else ""
