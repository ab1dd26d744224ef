"""Attacks: a number for each sample that is to be higher for members.

References
----------
Zarifzadeh, Liu, Shokri, "Low-Cost High-Power Membership Inference Attacks", arXiv 2312.03262: RMIA, offline.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pathlift.ir.types import Array
from pathlift.models.privacy.scores import log_sum

OFFLINE = 0.3
"""RMIA's a: how far p(x) of models that have not seen x is from what those that have would say."""


def mean_log(log_p: Sequence[Array]) -> Array:
    """Return log mean p of references, ``(samples,)``, from their log p."""
    mean: Array = log_sum(np.stack(log_p, axis=1)) - np.log(len(log_p))
    return mean


def relative(log_p: Array, reference: Array) -> Array:
    """Return log p(x|θ) − log p(x), p(x) = ((1 + a)·p_ref(x) + 1 − a)/2.

    Parameters
    ----------
    log_p
        log p_y of the model.
    reference
        log of the references' mean of p_y.
    """
    return log_p - np.log(((1 + OFFLINE) * np.exp(reference) + 1 - OFFLINE) / 2)


def rmia(own: Array, population: Array) -> Array:
    """Return the share of the population's samples z with LR(x, z) = [p(x|θ)/p(x)] / [p(z|θ)/p(z)] ≥ 1.

    Parameters
    ----------
    own, population
        `relative` of samples x and z.
    """
    return np.searchsorted(np.sort(population), own, "right") / len(population)


def ratio(log_p: Array, reference: Array) -> Array:
    """Return log p_y − log mean p_ref; 0 where both are −∞."""
    with np.errstate(invalid="ignore"):
        found: Array = np.nan_to_num(log_p - reference, nan=0.0, posinf=np.inf, neginf=-np.inf)
    return found
