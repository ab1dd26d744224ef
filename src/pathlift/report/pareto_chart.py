"""A chart of accuracies: by sparsity, and by the operations that are left."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pathlift.report.pareto import Point, front
from pathlift.report.row_chart import shown

if TYPE_CHECKING:
    from pathlift.report.page import Page

# Okabe and Ito's colours, which most eyes tell apart, and shapes for the others.
_LOOKS = (("#0072b2", "o"), ("#d55e00", "s"), ("#009e73", "^"), ("#cc79a7", "D"), ("#e69f00", "v"), ("#56b4e9", "P"))


def draw_pareto(dense: Point, points: Sequence[Point], name: str) -> Page:
    """Draw accuracy by sparsity, and by operations with the Pareto front.

    Parameters
    ----------
    dense
        The network as it was.
    points
        Pruned ones.
    name
        What to call it.
    """
    from pathlift.report.page import Page, styled

    with styled({"axes.spines.top": False}):
        figure = Page(figsize=(7.2, 3.0), layout="constrained")
        left, right = figure.subplots(1, 2, sharey=True)
        whole = dense.flops or 1.0
        for (colour, marker), criterion in zip(_LOOKS, dict.fromkeys(p.criterion for p in points), strict=False):
            own = [p for p in points if p.criterion == criterion]
            look: dict[str, Any] = {"color": colour, "marker": marker, "markersize": 4, "linewidth": 1}
            left.plot([100 * p.sparsity for p in own], [100 * p.accuracy for p in own], label=criterion, **look)
            right.plot([100 * p.flops / whole for p in own], [100 * p.accuracy for p in own], **look)
        every = [dense, *points]
        best = sorted((p for p, mark in zip(every, front(every), strict=True) if mark), key=lambda p: p.flops)
        right.plot(
            [100 * p.flops / whole for p in best], [100 * p.accuracy for p in best], drawstyle="steps-post",
            color="black", linewidth=0.8, linestyle=":", label="Pareto front",
        )  # fmt: skip
        for axes in (left, right):
            axes.axhline(100 * dense.accuracy, color="black", linewidth=0.8, linestyle="--", zorder=0)
        left.annotate("dense", (0, 100 * dense.accuracy), (2, 2), textcoords="offset points", fontsize=7, va="bottom")
        left.set_xlim(0, 100)
        left.set_xlabel("zeros among the weights [%]")
        left.set_ylabel("accuracy [%]")
        right.set_xlim(100, 0)
        right.set_xlabel("operations left if zeros cost nothing [%]")
        # Below both, where no curve is behind it.
        figure.legend(frameon=False, loc="outside lower center", ncols=7, columnspacing=1.2, handletextpad=0.4)
        left.set_title(shown(name), loc="left", parse_math=False)
    return figure
