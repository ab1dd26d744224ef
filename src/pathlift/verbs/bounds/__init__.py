"""The kinds of `pathlift bound`: one file each, which says which options it takes, and computes the bound."""

from __future__ import annotations

KINDS = {
    "generalization": "pathlift.verbs.bounds.generalization",
    "pac-bayes": "pathlift.verbs.bounds.pac_bayes",
    "lipschitz": "pathlift.verbs.bounds.lipschitz",
    "robustness": "pathlift.verbs.bounds.robustness",
    "product": "pathlift.verbs.bounds.product",
}
"""By kind, a module with ``OPTIONS``, the names of the options that are its own, ``compute``, and perhaps ``text``."""
