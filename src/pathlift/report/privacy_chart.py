"""A chart of an audit of privacy: operating characteristics, scores of members and others, AUC by accuracy and cost."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pathlift.report.costs import LOOKS, Mark, draw_costs, draw_marks
from pathlift.report.row_chart import shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from pathlift.report.audited import Attack, FileAudit
    from pathlift.report.page import Page

_FEW = 6  # files; of more, the first and the last are drawn
_BINS = 40
_TITLES = {"loss": "logit of the label", "rmia": "RMIA: share of the population that is less likely"}


def draw_privacy(files: Sequence[FileAudit], attack: str) -> Page:
    """Draw the attack that counts.

    Parameters
    ----------
    files
        In their order.
    attack
        ``loss`` or ``rmia``.
    """
    from pathlift.report.page import Page, styled

    found = [(file, own) for file in files if (own := file.attacks[attack]) is not None]
    drawn = found if len(found) <= _FEW else [found[0], found[-1]]
    ends = [found[0], found[-1]] if len(found) > 1 else found
    with styled({"axes.spines.top": False}):
        several = len(found) > 1
        page = Page(figsize=(12.8 if several else 9.6, 3.2), layout="constrained")
        parts: Any = page.subfigures(1, 4 if several else 3)
        left, middle, right, *last = parts
        _roc(left.subplots(), drawn)
        panels: Any = middle.subplots(len(ends), 1, sharex=True, squeeze=False)
        _histograms([row[0] for row in panels], ends, attack)
        aucs = [Mark(Path(file.path).name, own.auc, own.interval) for file, own in found]
        _accuracies(right.subplots(), aucs, [file for file, _ in found])
        for part in last:
            _costs(part.subplots(), aucs, [file for file, _ in found])
    return page


def _roc(axes: Axes, found: Sequence[tuple[FileAudit, Attack]]) -> None:
    """TPR by FPR, both logarithmic, from one non-member on."""
    least = 1.0
    for (colour, _), (file, attack) in zip(LOOKS, found, strict=False):
        false, true = attack.curve
        least = min(least, 1 / len(attack.others))
        axes.step(false, true, where="post", color=colour, linewidth=1.2, label=shown(Path(file.path).name))
    axes.plot([least, 1], [least, 1], color="black", linewidth=0.8, linestyle="--")
    axes.set(xscale="log", yscale="log", xlim=(least, 1), ylim=(least, 1.05))
    axes.set_xlabel("non-members taken for members")
    axes.set_ylabel("members found")
    axes.legend(frameon=False, fontsize=7, loc="upper left")


def _histograms(panels: Sequence[Axes], found: Sequence[tuple[FileAudit, Attack]], attack: str) -> None:
    """Scores of members and of others, in the bins of all; what is infinite is put at the ends."""
    import numpy as np

    everything = np.concatenate([part for _, own in found for part in (own.members, own.others)])
    finite = everything[np.isfinite(everything)]
    low, high = np.quantile(finite, (0.001, 0.999)) if len(finite) else (0.0, 1.0)
    bins = np.linspace(low, high if high > low else low + 1, _BINS + 1).tolist()
    for axes, (file, own) in zip(panels, found, strict=True):
        for scores, colour, name in ((own.members, "#d55e00", "members"), (own.others, "#0072b2", "non-members")):
            clipped = np.clip(scores, bins[0], bins[-1])
            weights = np.full(len(clipped), 100 / len(clipped))
            axes.hist(clipped, bins, weights=weights, histtype="step", color=colour, label=name)
        axes.set_title(shown(Path(file.path).name), loc="left", parse_math=False)
        axes.set_ylabel("share [%]")
    panels[0].legend(frameon=False, fontsize=7)
    panels[-1].set_xlabel(_TITLES[attack])


def _accuracies(axes: Axes, aucs: Sequence[Mark], files: Sequence[FileAudit]) -> None:
    """AUC by accuracy on non-members, with 95 % intervals."""
    tests = [(100 * file.test, tuple(100 * end for end in file.test_interval)) for file in files]
    draw_marks(axes, aucs, [Mark("", test, (low, high)) for test, (low, high) in tests])
    _chance(axes)
    axes.set_xlabel("test accuracy [%]")


def _costs(axes: Axes, aucs: Sequence[Mark], files: Sequence[FileAudit]) -> None:
    """AUC by time, or by size, with 95 % intervals."""
    draw_costs(axes, aucs, [file.cost.to_json() for file in files])
    _chance(axes)


def _chance(axes: Axes) -> None:
    axes.axhline(0.5, color="black", linewidth=0.8, linestyle="--")
    axes.set_ylabel("AUC of the attack")
