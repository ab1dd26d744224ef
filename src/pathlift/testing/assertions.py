"""Assertions for tests of passes: each states a law, and its message says where the law fails.

>>> from pathlift.testing import assert_equivalent, samples
>>> graph = samples()["Gemm"]
>>> assert_equivalent(graph, graph.edit().finish())
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import inf, isclose
from pathlib import Path
from typing import Literal

import numpy as np

from pathlift.ir.errors import UnsupportedError
from pathlift.ir.graph import Graph
from pathlift.ir.types import Array, TensorType, is_float
from pathlift.runtime.session import onnxruntime_session

Feeds = Mapping[str, Array]


def random_feeds(graph: Graph, rng: np.random.Generator, *, extent: int = 2) -> dict[str, Array]:
    """Return random inputs: normal, or small counting numbers; symbolic and unknown axes get `extent`.

    Raises
    ------
    UnsupportedError
        If the type of an input is not known.
    """
    feeds: dict[str, Array] = {}
    for name in graph.inputs:
        type_ = graph[name].types[0]
        if not isinstance(type_, TensorType) or type_.shape is None or type_.dtype is None:
            message = f"input {name!r} is {type_}, and no values for it can be made with NumPy"
            raise UnsupportedError("0395", message, hint="pass feeds of your own")
        shape = [d if isinstance(d, int) else extent for d in type_.shape]
        values = rng.standard_normal(shape) if is_float(type_.dtype) else rng.integers(0, 2, shape)
        feeds[name] = np.asarray(values).astype(type_.dtype)
    return feeds


def op_names(graph: Graph) -> list[str]:
    """Return the ops in topological order, without inputs and parameters."""
    return [graph[key].op for key in graph.order if graph[key].op not in ("Input", "Param")]


def execute(graph: Graph, feeds: Feeds) -> dict[str, Array]:
    """Run a graph in float64; returns the outputs by name."""
    import torch

    from pathlift.ir.algebras.interpret import run
    from pathlift.ir.algebras.numeric import Numeric

    numeric = Numeric()
    with torch.no_grad():
        outputs = run(graph, numeric, {name: numeric.tensor(x) for name, x in feeds.items()})
    return {name: y.numpy() for name, y in outputs.items()}


def assert_close(actual: Mapping[str, Array], expected: Mapping[str, Array], *, rtol: float, context: str = "") -> None:
    """Assert that two sets of outputs agree up to `rtol` times the largest magnitude (at least 1) of each output."""
    assert list(actual) == list(expected), f"outputs {list(actual)} are not {list(expected)}"
    for name, want in expected.items():
        got = actual[name]
        assert got.shape == want.shape, f"output {name!r} has shape {got.shape}, not {want.shape}{context}"
        if not got.size:
            continue
        a, b = got.astype(np.float64), want.astype(np.float64)
        finite = np.isfinite(b)
        same = np.array_equal(a[~finite], b[~finite], equal_nan=True)
        scale = max(1.0, float(np.abs(b[finite]).max(initial=0.0)))
        error = float(np.abs(a[finite] - b[finite]).max(initial=0.0)) / scale
        assert same, f"output {name!r} differs in its non-finite values{context}\n{a}\n{b}"
        assert error <= rtol, f"output {name!r} is off by {error:.2e} of {scale:.3g}{context}\n{a}\n{b}"


def assert_equivalent(a: Graph, b: Graph, *, rtol: float = 1e-9, trials: int = 3, seed: int = 0) -> None:
    """Assert that two graphs compute the same outputs on random inputs, in float64.

    Parameters
    ----------
    a, b
        Graphs with the same inputs and outputs.
    rtol
        Relative to the largest magnitude of each output, at least 1.
    trials
        How many random inputs.
    seed
        Of the inputs.
    """
    assert a.inputs == b.inputs, f"inputs {a.inputs} are not {b.inputs}"
    rng = np.random.default_rng(seed)
    for _ in range(trials):
        feeds = random_feeds(a, rng)
        assert_close(execute(b, feeds), execute(a, feeds), rtol=rtol)


def assert_same_as_onnxruntime(
    model: Graph | str | Path, *, feeds: Sequence[Feeds] = (), rtol: float = 1e-4, trials: int = 2, seed: int = 0
) -> None:
    """Assert that execution here (float64) agrees with ONNX Runtime on the saved model.

    Parameters
    ----------
    model
        A graph, which is saved for the purpose, or an ONNX file, which is loaded.
    feeds
        What to run on; `trials` random inputs, by default.
    rtol
        Relative to the largest magnitude of each output, at least 1; ONNX Runtime computes in float32.
    trials, seed
        How many random inputs, and their seed.
    """
    if isinstance(model, Graph):
        from pathlift.frontend.save import to_onnx

        graph, session = model, onnxruntime_session(to_onnx(model).SerializeToString())
    else:
        from pathlift.frontend.load import load

        graph, session = load(Path(model)), onnxruntime_session(str(model))
    rng = np.random.default_rng(seed)
    for fed in feeds or [random_feeds(graph, rng) for _ in range(trials)]:
        results = session.run(None, dict(fed))
        expected = dict(zip([o.name for o in session.get_outputs()], results, strict=True))
        assert_close(execute(graph, fed), expected, rtol=rtol)


def assert_path_norm(
    graph: Graph,
    expected: float | None = None,
    *,
    q: float = 1.0,
    pooling: Literal["sum", "max"] = "sum",
    mixed: float | None = None,
    inputs_only: bool = False,
    rtol: float = 1e-9,
) -> None:
    """Assert that `PathNorm` gives this value, or, without one, what the paths give one by one, per output.

    Parameters
    ----------
    graph
        Without a value, of a few hundred neurons at most.
    expected
        The norm over all outputs.
    q
        The exponent, in [0, ∞].
    pooling
        How pools are read. Paths are enumerated for ``sum``; maxima are taken neuron by neuron.
    mixed
        The exponent over the outputs' elements, in (0, ∞]; `q` by default.
    inputs_only
        Whether to leave out the paths that start at a bias.
    rtol
        Relative, of the norm.
    """
    from pathlift.passes.path_norm.path_norm import PathNorm

    (norm,) = PathNorm(q=(q,), pooling=pooling, mixed=mixed, inputs_only=inputs_only).run(graph).norms
    value = 0.0 if norm.value is None and norm.zero else norm.value
    assert value is not None, f"the norm is 1e{norm.log10}: compare logarithms"
    if expected is None:
        from pathlift.testing.oracle import path_norm, vector_norm

        per_output = path_norm(graph, q, pooling=pooling, inputs_only=inputs_only)
        for name, want in per_output.items():
            got = 10.0 ** norm.outputs[name].double().numpy()
            assert got.shape == want.shape, f"output {name!r} has shape {got.shape}, not {want.shape}"
            assert np.allclose(got, want, rtol=rtol, atol=0), f"‖Φ‖_{q:g} of output {name!r} is\n{got}\nnot\n{want}"
        elements = [float(v) for want in per_output.values() for v in want.flat]
        expected = vector_norm(elements, (q or 1.0) if mixed is None else mixed)
    assert isclose(value, expected, rel_tol=rtol), f"‖Φ‖_{q:g} is {value!r}, not {expected!r}"


def assert_bound_holds(
    bound: float,
    sample: Callable[[np.random.Generator], float],
    *,
    trials: int = 100,
    seed: int = 0,
    rtol: float = 1e-9,
) -> float:
    """Assert that no sampled value exceeds a bound.

    Parameters
    ----------
    bound
        The certificate.
    sample
        Draws one value of what is bounded.
    trials, seed
        How many samples, and their seed.
    rtol
        Slack for the rounding of the samples.

    Returns
    -------
    float
        The largest sample: what the bound's looseness is measured against.
    """
    rng, largest = np.random.default_rng(seed), -inf
    for i in range(trials):
        value = float(sample(rng))
        assert value <= bound + rtol * abs(bound), f"sample {i} is {value!r}, above the bound {bound!r}"
        largest = max(largest, value)
    return largest
