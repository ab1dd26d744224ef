"""Options of path-norms, and the norms of a network as it is on a domain."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING, Any

from pathlift.ir.errors import UsageError
from pathlift.ir.stages import stage

if TYPE_CHECKING:
    from pathlift.ir.graph import Graph
    from pathlift.passes.path_norm.path_norm import PathNorm
    from pathlift.passes.path_norm.result import Norm


def exponents(q: Any) -> tuple[float, ...]:
    """Return one exponent, or several, as path-norms take them.

    Raises
    ------
    UsageError
        If they are no numbers.
    """
    try:
        if isinstance(q, str):
            raise TypeError("its characters are no exponents")
        return (float(q),) if isinstance(q, Real) else tuple(map(float, q))
    except (TypeError, ValueError) as error:
        raise UsageError("0422", f"q is {q!r}, not an exponent or a list of them", hint="q=[1, 2]") from error


def outer_exponent(mixed: Any) -> float | None:
    """Return the outer exponent of mixed norms.

    Raises
    ------
    UsageError
        If it is no number.
    """
    if not isinstance(mixed, Real | None):
        raise UsageError("0424", f"mixed is {mixed!r}, not an exponent", hint="mixed=2")
    return None if mixed is None else float(mixed)


def output_files(weights: Any, chart: Any) -> dict[str, str]:
    """Return the files to write, by what goes into them; their names are checked."""
    from pathlift.report.arrays import check_weights
    from pathlift.report.row_chart import check_chart

    files = {}
    if weights is not None:
        files["weights"] = str(weights)
        check_weights(files["weights"])
    if chart is not None:
        files["chart"] = str(chart)
        check_chart(files["chart"])
    return files


@dataclass(frozen=True)
class LocalNorms:
    """Norms of a network as it is on a domain: bounds of it there, and no path-norms of the network itself.

    Parameters
    ----------
    norms
        One per q.
    domain
        The least and the largest number of each input.
    recentred
        The inputs whose distances from the middle are what the norms are about.
    changes
        What tightening did.
    assumptions
        What the norms rest on.
    """

    norms: tuple[Norm, ...]
    domain: Mapping[str, Mapping[str, float]]
    recentred: tuple[str, ...]
    changes: str
    assumptions: tuple[str, ...]

    def to_json(self, *, full: bool = False) -> dict[str, Any]:
        """Return plain JSON types; `full` is that of `Norm.to_json`."""
        return {
            "norms": [norm.to_json(full=full) for norm in self.norms],
            "domain": dict(self.domain),
            "recentred": list(self.recentred),
            "changes": self.changes,
            "assumptions": list(self.assumptions),
        }


def local_norms(
    graph: Graph, options: PathNorm, domain: Mapping[str, Any] | None, *, recentre: bool
) -> LocalNorms | None:
    """Compute norms of a network as it is on a domain; its weights are taken in float64.

    Parameters
    ----------
    graph
        The network.
    options
        Of the norms.
    domain
        One box, as `pathlift.models.domain.read_domains` takes it, for all inputs; ``None`` for no norms.
    recentre
        Whether inputs are distances from the middle of the box.

    Raises
    ------
    UsageError
        PL1474, PL1476: if it is no box of the inputs.
    UnsupportedError
        If intervals have no rule for a node, or no input can be recentred (PL1390).
    """
    if domain is None:
        if recentre:
            raise UsageError("0436", "recentring is about the middle of a domain", hint="add --domain x=0:1")
        return None
    from pathlift.models.domain import read_domains
    from pathlift.passes.layers.comparison_form import in_float64
    from pathlift.passes.rewrites.strip_head import StripHead
    from pathlift.passes.sizes import check_sizes, resolve_inputs
    from pathlift.passes.tightening.text import check_inputs
    from pathlift.passes.tightening.tighten import tightened

    before = StripHead().run(in_float64(graph)).graph
    shapes = resolve_inputs(before, dict(options.shape))
    check_inputs(domain, shapes)
    check_sizes(before, shapes, options.memory_limit)
    boxes = read_domains(before, domain, shape=dict(options.shape))
    if len(boxes.boxes) > 1:
        raise UsageError("1474", f"the domain is {len(boxes.boxes)} boxes, not one", hint="one lower and upper bound")
    with stage("tightening"):
        result = tightened(before, boxes.boxes[0], shapes, recentred=recentre)
    with stage("checking"):
        result.witness.check(before, result.graph)
    found = dataclasses.replace(options, per_layer=False, per_weight=False).run(result.graph)
    ends = boxes.to_json()["inputs"]
    where = ", ".join(f"{name} in [{end['low']:g}, {end['high']:g}]" for name, end in ends.items())
    told = f"local norms hold for {where}: there the tightened network is this one, elsewhere it is another"
    moved = result.centred
    distances = f"local norms: {', '.join(moved)} counts as the distance from the middle of the domain" if moved else ""
    return LocalNorms(
        tuple(dataclasses.replace(norm, is_path_norm=False) for norm in found.norms),
        ends,
        moved,
        result.witness.describe(),
        tuple(filter(None, (told, distances, *result.skipped, *found.assumptions))),
    )
