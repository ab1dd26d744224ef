"""The prefixes after which a model says most that leads out of the language."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from pathlift.models.language.places import Places

KEPT = 10


class Slip(NamedTuple):
    """A token that is not allowed, at a place.

    Parameters
    ----------
    q
        Its probability.
    token
        Which it is.
    prefix
        The tokens before it; of hidden ones, those that stand there in the data.
    row, position
        Where that is.
    """

    q: float
    token: int
    prefix: tuple[int, ...]
    row: int
    position: int


def slips(places: Places, prefix: Callable[[int, int], tuple[int, ...]], known: list[Slip]) -> list[Slip]:
    """Return the worst of what was known and of new places, one of each prefix, the likeliest first.

    Parameters
    ----------
    places
        With logits.
    prefix
        Returns the tokens before a position of a string.
    known
        As it was returned before.
    """
    z = places.logits - places.logits.max(1, keepdims=True)
    q = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    q[places.allowed] = 0.0
    token = q.argmax(1)
    height = q[np.arange(len(q)), token]
    best: dict[tuple[tuple[int, ...], int], Slip] = {(s.prefix, s.token): s for s in known}
    for i in np.argsort(-height, kind="stable"):
        if len(best) >= KEPT * 2 + len(known) or not height[i] > 0:
            break
        row, position = int(places.rows[i]), int(places.positions[i])
        slip = Slip(float(height[i]), int(token[i]), prefix(row, position), row, position)
        best.setdefault((slip.prefix, slip.token), slip)
    return sorted(best.values(), key=lambda s: (-s.q, s.row, s.position))[:KEPT]
