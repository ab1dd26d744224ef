"""Tools for tests of passes: a sample graph per op, random graphs, a brute-force oracle, and assertions.

>>> from pathlift.testing import assert_equivalent, random_rescale, sample
>>> import numpy as np
>>> graph = sample("Gemm")
>>> assert_equivalent(graph, random_rescale(graph, np.random.default_rng(0), powers_of_two=True))

The Hypothesis strategies are in `pathlift.testing.strategies`, the oracle in `pathlift.testing.oracle`, and whole
architectures in `pathlift.testing.zoo`; they are imported on their own, since they need more than the package does.
"""

from pathlift.runtime.session import onnxruntime_session
from pathlift.testing.assertions import (
    assert_bound_holds,
    assert_close,
    assert_equivalent,
    assert_path_norm,
    assert_same_as_onnxruntime,
    execute,
    op_names,
    random_feeds,
)
from pathlift.testing.rescaling import in_float64, random_rescale, rescaling_sites
from pathlift.testing.rewrites import assert_golden, assert_rewrites, assert_same_up_to_names
from pathlift.testing.samples import sample, samples

__all__ = [
    "assert_bound_holds",
    "assert_close",
    "assert_equivalent",
    "assert_golden",
    "assert_path_norm",
    "assert_rewrites",
    "assert_same_as_onnxruntime",
    "assert_same_up_to_names",
    "execute",
    "in_float64",
    "onnxruntime_session",
    "op_names",
    "random_feeds",
    "random_rescale",
    "rescaling_sites",
    "sample",
    "samples",
]
