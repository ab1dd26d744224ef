"""Results as text: one renderer per verb, working from the same object that ``--format json`` prints."""

from __future__ import annotations

import io
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from decimal import ROUND_CEILING, ROUND_HALF_EVEN, Decimal
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from pathlift.cli.terminal import clean
from pathlift.report.result import Result

Payload = dict[str, Any]
Renderer = Callable[[Payload], Iterator[RenderableType]]
"""Yields what to print, as plain strings (never read as markup) or Rich renderables."""

BAR_WIDTH = 24
REFUSALS_SHOWN = 12
MIN_WIDTH = 64  # narrower terminals wrap rows by themselves: figures folded within their columns are misread


def to_text(render: Renderer, result: Result) -> str:
    """Return a result as text, styled when stdout is a terminal; what it rests on comes last."""
    terminal = sys.stdout is not None and sys.stdout.isatty()
    # Not onto stdout: Rich has its own way with a reader that left. A pipe is read through no window: there, rows are
    # as long as they need to be.
    buffer = io.StringIO()
    console = Console(
        file=buffer,
        force_terminal=terminal or None,
        # Rich's own reading of NO_COLOR keeps bold; who sets it wants no escape codes.
        color_system=None if os.environ.get("NO_COLOR") else "auto",
        width=max(shutil.get_terminal_size().columns, MIN_WIDTH) if terminal else 10_000,
        markup=False,
        highlight=False,
        emoji=False,
    )
    for part in render(clean(result.to_json())):
        console.print(part, soft_wrap=isinstance(part, str))
    for assumption in clean(result.assumptions):
        console.print(f"assumes: {assumption}", soft_wrap=True)
    return "\n".join(line.rstrip() for line in buffer.getvalue().split("\n"))


class Bar:
    """A bar for a share between 0 and 1, as wide as its column."""

    def __init__(self, share: float) -> None:
        self.share = min(max(share, 0.0), 1.0)

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(0, BAR_WIDTH).with_maximum(options.max_width)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        utf = (getattr(sys.stdout, "encoding", None) or "").lower().startswith("utf")
        yield Text(("█" if utf else "#") * round(min(options.max_width, BAR_WIDTH) * self.share), no_wrap=True)


def table(headings: Sequence[str], rows: Sequence[Sequence[str | Bar]], *, right: Sequence[str] = ()) -> Table:
    """Return a table of plain strings and bars; the columns named in `right` hold figures."""
    result = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for heading in headings:
        figures = heading in right
        result.add_column(heading, justify="right" if figures else "left", overflow="fold", no_wrap=figures)
    for row in rows:
        result.add_row(*(Text(cell) if isinstance(cell, str) else cell for cell in row))
    return result


def fixed(number: float | None, rounding: str = ROUND_HALF_EVEN) -> str:
    """Return a figure with six decimals, or a dash for none."""
    return "-" if number is None else str(Decimal(number).quantize(Decimal("1e-6"), rounding))


def byte_size(count: int) -> str:
    """Return a number of bytes as people say it."""
    size, units = float(count), iter(["B", "kB", "MB", "GB", "TB"])
    unit = next(units)
    for larger in units:
        if size < 1000:
            break
        size, unit = size / 1000, larger
    return f"{size:.3g} {unit}"


def norm(payload: Payload) -> Iterator[RenderableType]:
    """Yield the norms, or those of the regions; then the layers' shares, the heaviest path, and what was written."""
    if "regions" in payload:
        yield from _regions(payload)
    else:
        yield _norms(payload["norms"])
    if layers := payload.get("layers"):
        yield ""
        layer = f"layer (q = {_number(payload['norms'][0]['q'])})"
        yield table(
            [layer, "log10 gain", "share", ""],
            [
                [item["node"], fixed(item["log10_gain"]), _percent(item["share"]), Bar(item["share"] or 0.0)]
                for item in layers
            ],
            right=["log10 gain", "share"],
        )
    if path := payload.get("heaviest_path"):
        yield ""
        yield from _heaviest_path(path)
    yield from (f"wrote {payload[what]}" for what in ("weights", "chart") if what in payload)


def _norms(norms: Sequence[Payload]) -> Table:
    exponents = "q" if all(item["mixed"] is None for item in norms) else "‖Φ‖_{q,r}"
    rows = []
    for item in norms:
        what = f"{item['pooling']} pooling" + ("" if item["is_path_norm"] else ", not a path-norm")
        # A value past float64 is null.
        value = f"10^{fixed(item['log10'])}" if item["value"] is None else f"{item['value']:.6g}"
        rows.append([_exponent(item), fixed(item["log10"]), "0" if item["zero"] else value, _at_most(item), what])
    return table([exponents, "log10", "value", "at most", ""], rows, right=[exponents, "log10", "value", "at most"])


def _exponent(norm: Payload) -> str:
    """The exponent of a norm, or both of a mixed one."""
    return ",".join(_number(q) for q in (norm["q"], norm["mixed"]) if q is not None)


def _at_most(norm: Payload) -> str:
    """An upper bound, which is never rounded down."""
    if norm["zero"]:
        return "0"
    upper = norm["upper_log10"]
    return "-" if upper is None else f"10^{fixed(upper, ROUND_CEILING)}"


def _regions(payload: Payload) -> Iterator[RenderableType]:
    """Yield one row per region, those without norms last, and what the norms of each rest on."""
    norms = payload["regions"][0]["norms"]
    letters = "q" if norms[0]["mixed"] is None else "q,r"
    figures = [heading for item in norms for heading in (f"log10 ({letters} = {_exponent(item)})", "at most")]
    rows = []
    for region in payload["regions"]:
        logs = [cell for item in region["norms"] for cell in (fixed(item["log10"]), _at_most(item))]
        what = "" if all(item["is_path_norm"] for item in region["norms"]) else "not a path-norm"
        starts = ", ".join(map(_start, region["inputs"]))
        rows.append([_span(region["layers"]), str(region["nodes"]), *logs, what, starts])
    for region in payload["skipped"]:
        rows.append([_span(region["layers"]), str(region["nodes"]), *["-"] * len(figures), "skipped", ""])
    yield table(["layers", "nodes", *figures, "", "starts at"], rows, right=["nodes", *figures])
    for region in payload["regions"]:
        yield from (f"in {_span(region['layers'])}: {assumption}" for assumption in region["assumptions"])


def _span(layers: Sequence[str]) -> str:
    return layers[0] if len(layers) == 1 else f"{layers[0]} … {layers[-1]}"


def _start(value: Payload) -> str:
    return f"{value['name']} ← {value['cut_by']['op']}" if value["cut_by"] else str(value["name"])


def _heaviest_path(path: Payload) -> Iterator[RenderableType]:
    if path["log10"] is None:
        yield "no path has a non-zero weight"
        return
    yield f"heaviest path, to {path['output']}{path['position']}: log10 {fixed(path['log10'])}"
    rows = [
        [item["node"], item["op"], _element(item), f"{item['value']:.6g}"] for item in [path["start"], *path["steps"]]
    ]
    yield table(["node", "op", "weight", "value"], rows, right=["value"])


def _element(factor: Payload) -> str:
    """The element of a tensor that a path starts at or is multiplied by."""
    name = factor["node"] if factor["op"] == "Input" else factor["parameter"]
    return f"{name}{list(factor['index'])}" if name else ""


def inspect(payload: Payload) -> Iterator[RenderableType]:
    """Yield the file's facts, its interface, its ops, and what each analysis says of it."""
    parameters = payload["parameters"]
    facts = {
        "parameters": f"{parameters['count']:,} ({byte_size(parameters['bytes'])})",
        "opset": str(payload["opset"]),
        "IR version": str(payload["ir_version"]),
        "producer": payload["producer"] or "-",
    }
    yield table(["model", ""], list(facts.items()))
    interface = [[f"{way[:-1]} {v['name']}", v["dtype"], _shape(v["shape"])] for way in _WAYS for v in payload[way]]
    yield ""
    yield table(["value", "dtype", "shape"], interface)
    ops = sorted(payload["ops"].items(), key=lambda item: (-item[1], item[0]))
    yield ""
    yield table(["op", "count"], [[op, str(count)] for op, count in ops], right=["count"])
    from pathlift.cli.render_rescaling import symmetry

    yield ""
    yield from symmetry(payload["rescaling"])
    verdicts = {name: v["applies"] for name, v in payload["analyses"].items()}
    yield ""
    yield table(["analysis", ""], [[k, "applies" if v else "does not apply"] for k, v in verdicts.items()])
    for name, verdict in payload["analyses"].items():
        if not verdict["applies"]:
            yield ""
            yield f"{name} does not apply:"
            shown = verdict["refusals"][:REFUSALS_SHOWN]
            yield from (f"  {r['code']} node {r['node']!r} ({r['op']}): {r['reason']}" for r in shown)
            if rest := len(verdict["refusals"]) - len(shown):
                yield f"  and {rest} more, which --format json lists"


def export(payload: Payload) -> Iterator[RenderableType]:
    """Yield what was written."""
    yield f"wrote {payload['output']} ({byte_size(payload['bytes'])}, opset {payload['opset']})"
    yield table(
        ["value", "dtype", "shape"],
        [[f"{way[:-1]} {v['name']}", v["dtype"], _shape(v["shape"])] for way in _WAYS for v in payload[way]],
    )


def opt(payload: Payload) -> Iterator[RenderableType]:
    """Yield the IR text, unless a file was written; then what each pass did, and how far the outputs moved."""
    yield from payload["ir"]
    output, verified = payload["output"], payload.get("verify")
    norms = [payload.get("norms"), *(step.get("norms") for step in payload["passes"])]
    if output is not None or verified or any(norms):
        yield from _steps(payload["passes"], norms)
    if verified:
        yield from _verification(verified)
    if output is not None:
        yield f"wrote {output}"


def _steps(steps: Sequence[Payload], norms: Sequence[Sequence[Payload] | None]) -> Iterator[Table]:
    """Yield one row per pass, with the path-norms before → after it; `norms` has those before the first one too."""
    exponents = next(([_number(norm["q"]) for norm in items] for items in norms if items), [])
    rows = [
        [step["name"], "changed" if step["changed"] else "unchanged", step.get("note", "")]
        + [f"{_log10(before, i)} → {_log10(after, i)}" for i in range(len(exponents))]
        for step, before, after in zip(steps, norms[:-1], norms[1:], strict=True)
    ]
    if exponents and not steps:
        rows = [["none", "", "", *(_log10(norms[0], i) for i in range(len(exponents)))]]
    headings = [f"log10 ‖Φ‖_{q}" for q in exponents]
    if rows:
        yield table(["pass", "", "", *headings], rows, right=headings)


def _log10(norms: Sequence[Payload] | None, index: int) -> str:
    """One of a network's norms; a dash if it has none."""
    if not norms:
        return "-"
    return "zero" if norms[index]["zero"] else fixed(norms[index]["log10"])


def _verification(verified: Payload) -> Iterator[str]:
    difference = "∞" if verified["max_relative_difference"] is None else f"{verified['max_relative_difference']:.2e}"
    where = f"output {verified['output']!r}, input {verified['input']!r}"
    skipped = f" and {n} ill-conditioned ones left out" if (n := verified["ill_conditioned"]) else ""
    tried = f"{verified['samples']} inputs{skipped}, tolerance {_number(verified['tolerance'])}"
    verdict = "verified" if verified["passed"] else "refuted"
    yield f"{verdict}: largest relative difference {difference} ({where}; {tried})"
    if not verified["passed"]:
        yield "nothing was written; a pass that changes the function on purpose needs a --tolerance"


def passes(payload: Payload) -> Iterator[RenderableType]:
    """Yield each pass and its options."""
    rows = []
    for item in payload["passes"]:
        rows.append([item["name"], item["kind"], item.get("path_norm") or "", item["help"]])
        for option in item["options"]:
            default = "…" if option.get("required") else option["default"]
            rows.append([f"  {option['name']}={default}", option["type"], "", option["help"]])
    for item in payload.get("unavailable", ()):
        rows.append([item["name"], "unavailable", "", f"{' and '.join(item['packages'])}: {item['reason']}"])
    yield table(["pass", "kind", "path-norm", ""], rows)


_WAYS = ("inputs", "outputs")


def _number(q: float | str) -> str:
    return q if isinstance(q, str) else f"{q:g}"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"


def _shape(shape: Sequence[int | str | None] | None) -> str:
    return "?" if shape is None else "[" + ", ".join("?" if dim is None else str(dim) for dim in shape) + "]"
