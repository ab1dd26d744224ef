"""Sites: the places of a graph that a local rewrite computes otherwise."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Site:
    """One place that was rewritten.

    Parameters
    ----------
    output
        Name of a value of the graph before; the graph after has the same value, perhaps under another name.
    inputs
        Names of the values, in both graphs, that it is computed from; parameters need not be named.
    what
        What a reader is told: ``"conv1 + bn1"``.
    """

    output: str
    inputs: tuple[str, ...]
    what: str
