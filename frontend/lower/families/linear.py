"""Gemm, MatMul and Einsum: one operand is constant, and the IR's contraction names it second."""

from __future__ import annotations

from typing import Any

import numpy as np

from pathlift.frontend.fold import Constant
from pathlift.frontend.lower.node import OnnxNode, Operand
from pathlift.frontend.lower.registry import Refusal, lowering, opaque
from pathlift.ir.graph import Value
from pathlift.ir.types import Dims

PRODUCT = "product of two activations"

opaque(PRODUCT, "Attention", "GRU", "LSTM")


@lowering("Gemm")
def gemm(node: OnnxNode) -> Operand:
    """alpha·(A'·B') + beta·C, where either of A and B is the weight."""
    a, b = node.input(0), node.input(1)
    trans_a, trans_b = bool(node.integer("transA")), bool(node.integer("transB"))
    alpha, bias, row = node.real("alpha", 1.0), _bias(node), None
    if isinstance(b, Constant):
        x: Operand = node.emit("Transpose", a, perm=(1, 0)) if trans_a else a
        w, trans_w = untransposed(b, trans_b)
        row = _row(node, bias, w.param.shape[0 if trans_w else 1]) if alpha == 1.0 else None
        bias = bias if row is None else None
        op, operands = "Gemm", [x, w, row]
        attrs: dict[str, Any] = {"trans_w": trans_w}
    elif isinstance(a, Constant):
        equation = f"{'nk' if trans_b else 'kn'},{'km' if trans_a else 'mk'}->mn"
        op, operands, attrs = "Einsum", [b, a], {"equation": equation}
    else:
        raise Refusal(PRODUCT)
    y = (node.result if alpha == 1.0 and bias is None else node.emit)(op, *operands, **attrs)
    if alpha != 1.0:
        y = (node.result if bias is None else node.emit)("Mul", y, node.lowerer.number(alpha, node.type(y).dtype))
    return y if bias is None else node.result("Add", y, bias)


def _bias(node: OnnxNode) -> Operand | None:
    c, beta = node.optional(2), node.real("beta", 1.0)
    if c is None or beta == 0.0:
        return None
    if beta == 1.0:
        return c
    if isinstance(c, Constant) and c.param.dtype in (np.float32, np.float64):
        return node.derive(c, "scaled", lambda a: a * a.dtype.type(beta), c.param.shape, beta)
    return node.emit("Mul", c, node.lowerer.number(beta, node.type(c).dtype))


def _row(node: OnnxNode, bias: Operand | None, width: int) -> Constant | None:
    """Return a constant bias as a vector of one element per output; ``None`` if it differs from row to row."""
    if not isinstance(bias, Constant) or bias.param.size != (bias.param.shape or (1,))[-1]:
        return None
    if bias.param.size == width:
        return node.reshaped(bias, (width,))
    return node.derive(bias, "row", lambda a: np.broadcast_to(a.reshape(-1), (width,)), (width,))


def untransposed(w: Constant, transposed: bool) -> tuple[Constant, bool]:
    """Return the matrix that `w` is the transpose of, if it is one, and whether to transpose it."""
    return (w, transposed) if w.transpose_of is None else (w.transpose_of, not transposed)


@lowering("MatMul")
def matmul(node: OnnxNode) -> Operand:
    """A·B over the last two axes, broadcasting over the others; either operand is the weight."""
    a, b = node.input(0), node.input(1)
    if isinstance(b, Constant):
        if len(b.param.shape) == 2:
            w, trans_w = untransposed(b, False)
            return node.result("Gemm", a, w, trans_w=trans_w)
        if len(b.param.shape) == 1:
            return node.result("Einsum", a, b, equation="...k,k->...")
        return _batched(node, a, b, "mk", "kn")
    if not isinstance(a, Constant):
        raise Refusal(PRODUCT)
    rank = len(node.dims(b))
    lead, column = "..." if rank > 2 else "", "n" if rank > 1 else ""
    if len(a.param.shape) in (1, 2):
        row = "m" if len(a.param.shape) == 2 else ""
        return node.result("Einsum", b, a, equation=f"{lead}k{column},{row}k->{lead}{row}{column}")
    return _batched(node, b, a, "kn", "mk")


def _batched(node: OnnxNode, x: Operand, w: Constant, x_letters: str, w_letters: str) -> Value:
    """Contract with a batch of weights; an axis of the batch is one of `x`, or new."""
    dims = node.dims(x)
    vector = len(dims) == 1
    lead, batch = dims[:-2], w.param.shape[:-2]
    while batch and batch[0] == 1 and len(batch) <= len(lead):
        batch = batch[1:]
    w = node.reshaped(w, (*batch, *w.param.shape[-2:]))
    shared = lead[len(lead) - len(batch) :] if len(batch) < len(lead) else lead
    if any(d != b for d, b in zip(reversed(shared), reversed(batch), strict=False)):
        raise Refusal("a batch of weights that broadcasts against the input")
    letters = "abcdefghij"[: len(batch)]
    own = letters[len(letters) - len(shared) :] if batch else ""
    more = "..." if len(lead) > len(batch) else ""
    result = "mn".replace("m" if x_letters == "mk" else "n", "") if vector else "mn"
    operand = "k" if vector else x_letters
    return node.result("Einsum", x, w, equation=f"{more}{own}{operand},{letters}{w_letters}->{more}{letters}{result}")


@lowering("Einsum")
def einsum(node: OnnxNode) -> Operand:
    """A contraction of two operands, one of them constant."""
    operands = node.operands
    if len(operands) != 2:
        raise Refusal(f"an einsum of {len(operands)} operands")
    terms, result = _einsum_terms(node.text("equation", ""))
    a, b = node.input(0), node.input(1)
    if isinstance(b, Constant):
        x, w, (x_term, w_term) = a, b, terms
    elif isinstance(a, Constant):
        x, w, (w_term, x_term) = b, a, terms
    else:
        raise Refusal(PRODUCT)
    if len(w_term.replace(".", "")) == len(w.param.shape):
        w_term = w_term.replace(".", "")
    _check_einsum(x_term, w_term, result, node.dims(x), w.param.shape)
    is_matrix = len(set(w_term)) == len(w_term) == 2
    if is_matrix and sorted(w_term) == sorted(x_term[-1:] + result[-1:]) and x_term[:-1] == result[:-1]:
        w, trans_w = untransposed(w, w_term[0] == result[-1])
        return node.result("Gemm", x, w, trans_w=trans_w)
    equation = f"{x_term},{w_term}->{result}".replace(".", "...")
    return node.result("Einsum", x, w, equation=equation)


def _einsum_terms(equation: str) -> tuple[list[str], str]:
    """Split an equation; ``.`` stands for the ellipsis. An implicit result holds what occurs once, in order."""
    operands, arrow, result = equation.replace(" ", "").replace("...", ".").partition("->")
    letters = operands.replace(",", "")
    if not arrow:
        result = "." * ("." in letters) + "".join(sorted(c for c in set(letters) - {"."} if letters.count(c) == 1))
    return operands.split(","), result


def _check_einsum(x_term: str, w_term: str, result: str, dims: Dims, shape: Dims) -> None:
    if any(len(set(t)) != len(t) for t in (x_term, w_term, result)) or "." in w_term:
        raise Refusal("an einsum with a diagonal, or with an ellipsis in the weights")
    if any("." in t[1:] for t in (x_term, result)) or ("." in x_term) != ("." in result):
        raise Refusal("an einsum whose ellipsis is not in front")
    if any(c not in result + x_term for c in w_term) or any(c not in result + w_term for c in x_term):
        raise Refusal("an einsum that sums one operand alone")
    lead = len(dims) - len(x_term.replace(".", ""))
    extents = dict(zip(w_term, shape, strict=True))
    if any(c in extents and extents[c] != d for c, d in zip(x_term.replace(".", ""), dims[lead:], strict=True)):
        raise Refusal("an einsum that broadcasts, or may do so: an extent is not known")
