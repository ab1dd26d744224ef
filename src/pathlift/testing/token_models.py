"""Small token models in ONNX that a regular language is known of: lists of digits, said by looking at the last token.

>>> from pathlift.testing.token_models import LISTS, VOCABULARY, bigram_model, list_logits
>>> proto = bigram_model(list_logits(seed=0))
"""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper

from pathlift.ir.types import Array
from pathlift.testing.onnx_models import info, model, node

__all__ = ["BOS", "EOS", "LISTS", "VOCABULARY", "bigram_model", "list_logits", "list_strings", "pruned", "rounded"]

LISTS = r"\[(?:[0-9](?:,[0-9])*)?\]"
VOCABULARY = ["[", "]", ",", *"0123456789", "1,", "[1", "x", None, None]
"""Two tokens can be spelled by others; the last two begin and end strings."""
BOS, EOS = 16, 17
_DIGITS = range(3, 13)
_AFTER: dict[int, list[int]] = {
    BOS: [0, 14],
    0: [1, *_DIGITS, 13],
    2: [*_DIGITS, 13],
    13: [*_DIGITS, 13],
    14: [1, 2],
    **{digit: [1, 2] for digit in _DIGITS},
    1: [EOS],
}
"""Which tokens may follow another: in this language, the last token says which state the automaton is in."""


def list_logits(seed: int = 0, off: float = -9.0) -> Array:
    """Return logits of the next token by the last one, ``(tokens, tokens)``, float64.

    Parameters
    ----------
    seed
        Of the probabilities of tokens that may follow.
    off
        The logit of those that may not, relative to the probability 1.
    """
    rng = np.random.default_rng(seed)
    size = len(VOCABULARY)
    found = np.full((size, size), off) + rng.normal(0, 0.3, (size, size))
    for last, tokens in _AFTER.items():
        p = rng.dirichlet(np.full(len(tokens), 2.0))
        found[last, tokens] = np.log(0.05 / len(tokens) + 0.95 * p)
    return found


def list_strings(count: int, seed: int = 0, width: int = 24) -> Array:
    """Return strings that the logits of the same seed say if they are held to the language, ``(count, width)``, int64.

    They begin and end with their tokens; those that would be longer are left out.
    """
    logits, rng = list_logits(seed), np.random.default_rng(seed + 1)
    rows: list[list[int]] = []
    while len(rows) < count:
        row = [BOS]
        while row[-1] != EOS and len(row) < width:
            tokens = _AFTER[row[-1]]
            p = np.exp(logits[row[-1], tokens])
            row.append(tokens[int(rng.choice(len(tokens), p=p / p.sum()))])
        if row[-1] == EOS:
            rows.append(row + [EOS] * (width - len(row)))
    return np.array(rows, np.int64)


def bigram_model(logits: Array, *, dtype: Any = np.float32, **shape: int | str) -> ModelProto:
    """Return a model whose logits are those of the last token, as a product of two matrices.

    Parameters
    ----------
    logits
        ``(tokens, tokens)``.
    dtype
        Of the weights and the logits.
    shape
        Extents ``N`` and ``T`` that the file fixes.
    """
    left, scale, right = np.linalg.svd(logits)
    root = np.sqrt(scale)
    extents = [shape.get("N", "N"), shape.get("T", "T")]
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    return model(
        [node("Gather", "embedding tokens", "h"), node("MatMul", "h head", "logits")],
        [info("tokens", extents, TensorProto.INT64)],
        [info("logits", [*extents, len(logits)], kind)],
        [
            numpy_helper.from_array((left * root).astype(dtype), "embedding"),
            numpy_helper.from_array((root[:, None] * right).astype(dtype), "head"),
        ],
    )


def rounded(proto: ModelProto, bits: int) -> ModelProto:
    """Return a model whose weights are multiples of a step, one step per matrix, in so many bits."""
    levels = 2 ** (bits - 1) - 1

    def to_grid(w: Array) -> Array:
        step = np.abs(w).max() / levels
        return np.asarray(np.round(w / step) * step)

    return _with(proto, to_grid)


def pruned(proto: ModelProto, share: float) -> ModelProto:
    """Return a model without the smallest weights of each matrix."""
    return _with(proto, lambda w: np.where(np.abs(w) > np.quantile(np.abs(w), share), w, 0))


def _with(proto: ModelProto, change: Any) -> ModelProto:
    made = ModelProto()
    made.CopyFrom(proto)
    for tensor in made.graph.initializer:
        values = numpy_helper.to_array(tensor)
        tensor.CopyFrom(numpy_helper.from_array(change(values).astype(values.dtype), tensor.name))
    return made
