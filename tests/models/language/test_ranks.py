"""Orders of logits against scikit-learn's AUC and all pairs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pathlift.models.language import ranks
from pathlift.models.language.ranks import pair_order, support_auc


@given(st.integers(0, 2**32 - 1), st.integers(2, 9))
def test_auc(seed: int, tokens: int) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(seed)
    logits, allowed = rng.integers(0, 4, (5, tokens)).astype(float), rng.random((5, tokens)) < 0.5
    for value, z, inside in zip(support_auc(logits, allowed), logits, allowed, strict=True):
        if inside.all() or not inside.any():
            assert np.isnan(value)
        else:
            assert value == pytest.approx(metrics.roc_auc_score(inside, z), abs=1e-12)


@given(st.integers(0, 2**32 - 1), st.integers(1, 7))
def test_pairs(seed: int, tokens: int) -> None:
    rng = np.random.default_rng(seed)
    logits, p = rng.integers(0, 4, (4, tokens)).astype(float), rng.integers(0, 4, (4, tokens)) / 10
    logits[0, 0] = -np.inf
    for value, z, w in zip(pair_order(logits, p), logits, p, strict=True):
        pairs = [(i, j) for i in range(tokens) for j in range(tokens) if w[i] > w[j] > 0]
        right = [1.0 if z[i] > z[j] else 0.5 if z[i] == z[j] else 0.0 for i, j in pairs]
        assert np.isnan(value) if not pairs else value == pytest.approx(np.mean(right))


def test_pairs_of_many_tokens_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranks, "PAIRED", 50)
    rng = np.random.default_rng(0)
    p = rng.random((1, 400))
    assert pair_order(np.log(p), p)[0] == 1
    assert pair_order(-p, p)[0] == 0
    assert pair_order(rng.random((1, 400)), p)[0] == pytest.approx(0.5, abs=0.1)
