"""Orders of logits: whether allowed tokens are above others, and whether likelier ones are above less likely ones."""

from __future__ import annotations

import numpy as np

from pathlift.ir.types import Array

PAIRED = 256
"""Tokens of a place whose pairs are looked at; of more, so many are drawn."""


def support_auc(logits: Array, allowed: Array) -> Array:
    """Return the share of pairs of an allowed and another token in which the first has the larger logit, ties as half.

    Parameters
    ----------
    logits
        ``(places, tokens)``, float64.
    allowed
        ``(places, tokens)``, bool.

    Returns
    -------
    Array
        ``(places,)``, float64; NaN where there are no such pairs.
    """
    found = np.full(len(logits), np.nan)
    for i, (z, inside) in enumerate(zip(logits, allowed, strict=True)):
        a, b = z[inside], z[~inside]
        if not len(a) or not len(b):
            continue
        if len(a) <= len(b):  # the fewer are sorted, the others looked up
            order = np.sort(a)
            below = order.searchsorted(b, "left").sum() + order.searchsorted(b, "right").sum()
            found[i] = 1 - below / (2 * len(a) * len(b))
        else:
            order = np.sort(b)
            below = order.searchsorted(a, "left").sum() + order.searchsorted(a, "right").sum()
            found[i] = below / (2 * len(a) * len(b))
    return found


def pair_order(logits: Array, expected: Array, seed: int = 0) -> Array:
    """Return the share of pairs of tokens of unlike probability that logits put in the same order, ties as half.

    Parameters
    ----------
    logits
        ``(places, tokens)``, float64.
    expected
        ``(places, tokens)``, float64: probabilities; tokens without any are in no pair.
    seed
        Of the tokens that are drawn where there are more than 256.

    Returns
    -------
    Array
        ``(places,)``, float64; NaN where there are no such pairs.
    """
    rng = np.random.default_rng(seed)
    found = np.full(len(logits), np.nan)
    for i, (z, p) in enumerate(zip(logits, expected, strict=True)):
        some = np.flatnonzero(p)
        if len(some) > PAIRED:
            some = rng.choice(some, PAIRED, replace=False)
        likelier = p[some][:, None] > p[some] * (1 + 1e-12)
        count = likelier.sum()
        if count:
            with np.errstate(invalid="ignore"):  # both excluded: a tie
                above = np.nan_to_num(np.sign(z[some][:, None] - z[some]))
            found[i] = ((1 + above[likelier]) / 2).sum() / count
    return found
