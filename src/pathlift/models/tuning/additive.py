"""The additive model: costs and squared errors of a choice are sums over its layers, fitted to what was measured.

Cost is additive in counts per signature, squared error per layer. Both were found so on a trained network: R² 0.97 for
latency, rank correlation 0.998 for the error (benchmarks/results/tune_landscape.md).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf, isfinite, sqrt

import numpy as np

from pathlift.ir.types import Array
from pathlift.models.tuning.knapsack import Choice


@dataclass(frozen=True, eq=False)
class Additive:
    """What options of layers cost, and are off by.

    Parameters
    ----------
    groups
        The number of each layer's signature.
    costs
        Per layer, what each option adds to the ratio, ``(options,)``; 0 for dense.
    squares
        Per layer, the squared error of each option, ``(options,)``.
    """

    groups: Sequence[int]
    costs: Sequence[Array]
    squares: Sequence[Array]

    def ratio(self, choice: Choice) -> float:
        """Return the predicted cost over that of the dense file."""
        return 1 + sum(float(c[option]) for c, option in zip(self.costs, choice, strict=True))

    def error(self, choice: Choice) -> float:
        """Return the predicted error."""
        return sqrt(sum(float(s[option]) for s, option in zip(self.squares, choice, strict=True)))

    def counts(self, choice: Choice) -> tuple[tuple[int, int], ...]:
        """Return signatures and options of the layers that are replaced, in order: what cost depends on."""
        return tuple(sorted((group, option) for group, option in zip(self.groups, choice, strict=True) if option))

    def refitted(self, ratios: Mapping[Choice, float], errors: Mapping[Choice, float]) -> Additive:
        """Return the model nearest to this one that explains measurements as well.

        Parameters
        ----------
        ratios
            Costs, over that of the dense file. What they differ from the prediction by is spread, in least squares,
            over the options that were chosen; with a weight of 1 for what is known already.
        errors
            Squared errors are scaled, all alike, by the median of measured over predicted ones.
        """
        return Additive(self.groups, self._costs(ratios), self._squares(errors))

    def _costs(self, ratios: Mapping[Choice, float]) -> list[Array]:
        rows = {choice: ratio for choice, ratio in ratios.items() if any(choice) and isfinite(ratio)}
        if not rows:
            return list(self.costs)
        names = sorted({pair for choice in rows for pair in self.counts(choice)})
        columns = {name: i for i, name in enumerate(names)}
        counts = np.zeros((len(rows), len(names)))
        for i, choice in enumerate(rows):
            for pair in self.counts(choice):
                counts[i, columns[pair]] += 1
        rest = np.array([ratio - self.ratio(choice) for choice, ratio in rows.items()])
        # One measurement of all layers of a signature stands behind each cost: it is a row of the same weight.
        sizes = np.array([sum(g == group for g in self.groups) for group, _ in names], dtype=float)
        system = np.vstack([counts, np.diag(sizes)])
        change = np.linalg.lstsq(system, np.concatenate([rest, np.zeros(len(names))]), rcond=None)[0]
        moved = [c.copy() for c in self.costs]
        for layer, group in enumerate(self.groups):
            for option in range(1, len(moved[layer])):
                if (group, option) in columns:
                    moved[layer][option] += change[columns[group, option]]
        return moved

    def _squares(self, errors: Mapping[Choice, float]) -> list[Array]:
        pairs = [(error**2, self.error(choice) ** 2) for choice, error in errors.items()]
        scales = [found / said for found, said in pairs if 0 < said < inf and 0 < found < inf]
        scale = float(np.median(scales)) if scales else 1.0
        return [s * scale for s in self.squares]
