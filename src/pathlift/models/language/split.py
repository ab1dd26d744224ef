"""The split: what of a model's loss is probability that left the language, and what is distorted inside."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pathlift.ir.types import Array


@dataclass(frozen=True, eq=False)
class Split:
    """Nats at places. All are infinite where the model gives what may stand there no probability at all.

    −log q(x) = support + inside, and KL(p‖q) = support + divergence, exactly.

    Parameters
    ----------
    support
        ``(places,)``, float64: −log q(S), of all that may stand there.
    inside
        −log q(x | S), of the token that does.
    divergence
        KL(p ‖ q(· | S)); None where p is not known.
    off
        1 − q(S): the mass that left the language.
    """

    support: Array
    inside: Array
    divergence: Array | None
    off: Array


def split(
    logits: Array, allowed: Array, targets: Array, expected: Array | None = None, temperature: float = 1.0
) -> Split:
    """Split the losses at places.

    Parameters
    ----------
    logits
        ``(places, tokens)``, float64; −∞ for what the model excludes.
    allowed
        ``(places, tokens)``, bool: S.
    targets
        ``(places,)``: tokens, allowed ones.
    expected
        ``(places, tokens)``, float64: p, 0 outside S.
    temperature
        What logits are divided by.
    """
    z = logits / temperature
    inner = log_sum_exp(np.where(allowed, z, -np.inf))
    outer = log_sum_exp(np.where(allowed, -np.inf, z))
    whole = np.logaddexp(inner, outer)
    off = np.exp(outer - whole)
    with np.errstate(
        divide="ignore"
    ):  # −log(1 − off) is the exact one where little left, the difference where much did
        support = np.where(off < 0.5, -np.log1p(-np.minimum(off, 0.5)), whole - inner)
    known = np.isfinite(inner)
    safe = np.where(known, inner, 0.0)
    rows = np.arange(len(z))
    inside = np.where(known, safe - z[rows, targets], np.inf)
    divergence = None
    if expected is not None:
        some = expected > 0
        log_p = np.log(np.where(some, expected, 1.0))
        terms = np.where(some, expected * (log_p - (np.where(some, z, 0.0) - safe[:, None])), 0.0)
        divergence = np.where(known, np.maximum(terms.sum(1), 0.0), np.inf)
    return Split(np.where(known, support, np.inf), inside, divergence, off)


def log_sum_exp(values: Array) -> Array:
    """Return log Σ exp over the last axis, −∞ for none."""
    top = values.max(-1, initial=-np.inf)
    shift = np.where(np.isfinite(top), top, 0.0)
    with np.errstate(divide="ignore"):
        return np.asarray(shift + np.log(np.exp(values - shift[..., None]).sum(-1)))
