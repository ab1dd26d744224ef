"""Alternating least squares: each factor is the one that linear algebra finds on the dense design matrix."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pathlift.ir.kronecker import Pattern, dense, product
from pathlift.ir.types import Array
from pathlift.passes.kronecker.fitting import als as module
from pathlift.passes.kronecker.fitting.als import als
from pathlift.passes.kronecker.fitting.objective import Objective


def best_factor(objective: Objective, factors: list[Array], k: int) -> float:
    """The least distance over one factor, by a least squares problem with a column per non-zero."""
    columns = []
    for index in np.ndindex(factors[k].shape):
        unit = np.zeros_like(factors[k])
        unit[index] = 1.0
        matrix = product([*factors[:k], unit, *factors[k + 1 :]])
        columns.append((matrix if objective.inputs is None else matrix @ objective.inputs).reshape(-1))
    design, target = np.stack(columns, axis=1), objective.target.reshape(-1)
    solution = np.linalg.lstsq(design, target, rcond=None)[0]
    return float(np.linalg.norm(design @ solution - target))


CHAINS = {
    "monarch": [Pattern(1, 3, 4, 2), Pattern(2, 4, 3, 1)],
    "three levels": [Pattern(1, 2, 2, 4), Pattern(2, 2, 2, 2), Pattern(4, 2, 2, 1)],
    "not chainable": [Pattern(1, 2, 2, 2), Pattern(2, 2, 2, 1), Pattern(1, 2, 2, 2)],
    "one factor": [Pattern(2, 2, 3, 2)],
}


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("patterns", CHAINS.values(), ids=CHAINS)
def test_each_factor_is_the_best(patterns: list[Pattern], weighted: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_INNER", 200)
    rng = np.random.default_rng(0)
    m, n = patterns[0].rows, patterns[-1].cols
    weight, inputs = rng.standard_normal((m, n)), rng.standard_normal((n, n)) if weighted else None
    objective = Objective(weight if inputs is None else weight @ inputs, inputs)
    factors = [rng.standard_normal(p.shape) for p in patterns]
    gram = None if inputs is None else inputs @ inputs.T
    swept = module._sweep(objective, factors, objective.reads(factors), gram)
    for k in range(len(patterns)):
        current = [*swept[: k + 1], *factors[k + 1 :]]
        assert objective.loss(current) == pytest.approx(best_factor(objective, current, k), rel=1e-7)


def test_one_factor_takes_correlated_inputs_into_account() -> None:
    # Two inputs that are always equal: the one outside the pattern can be served by the one inside.
    x = np.array([[1.0, -2.0, 0.5], [1.0, -2.0, 0.5]])
    weight = np.array([[0.0, 1.0], [0.0, 1.0]])
    pattern = Pattern(2, 1, 1, 1)
    start = [np.zeros(pattern.shape)]
    (found,), _ = als(Objective(weight @ x, x), start, steps=1)
    assert np.allclose(dense(found), np.eye(2), atol=1e-12)


@settings(deadline=None, max_examples=50)
@given(st.sampled_from(list(CHAINS.values())), st.integers(0, 2**32 - 1), st.integers(1, 12), st.booleans())
def test_distances_never_increase(patterns: list[Pattern], seed: int, samples: int, zeros: bool) -> None:
    # Fewer samples than inputs make the second moment singular; a zero start has singular blocks.
    rng = np.random.default_rng(seed)
    inputs = rng.standard_normal((patterns[-1].cols, samples)) * 10.0 ** rng.uniform(-6, 0, samples)
    weight = rng.standard_normal((patterns[0].rows, patterns[-1].cols))
    objective = Objective(weight @ inputs, inputs)
    start = [np.zeros(p.shape) if zeros and k else rng.standard_normal(p.shape) for k, p in enumerate(patterns)]
    seen = [objective.loss(start)]
    factors, taken = als(objective, start, steps=6, on_step=lambda _step, distance: seen.append(distance))
    assert seen == sorted(seen, reverse=True)
    assert len(seen) == taken + 1
    assert objective.loss(factors) == pytest.approx(seen[-1], rel=1e-12, abs=1e-300)
