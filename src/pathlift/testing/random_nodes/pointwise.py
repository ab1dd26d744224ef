"""Random elementwise nodes, and products with matrices."""

from __future__ import annotations

import numpy as np

from pathlift.testing.onnx_models import f32
from pathlift.testing.random_nodes.draws import Case, Rng, axis_of, broadcast, ints, makes, one, tensor


@makes("Relu", "Abs", "Sigmoid", "Tanh", "Softplus", "Softsign", "Erf", "HardSwish", "Neg", "Identity")
def plain(rng: Rng, opset: int) -> Case:
    """A random Relu, Abs, Sigmoid, Tanh, Softplus, Softsign, Erf, HardSwish, Neg or Identity."""
    return Case([3 * tensor(rng, low=0)])


@makes("LeakyRelu", "Elu", "Celu", "HardSigmoid", "Selu")
def slopes(rng: Rng, opset: int) -> Case:
    """A random LeakyRelu, Elu, Celu, HardSigmoid or Selu."""
    return Case([3 * tensor(rng)], {name: one(rng, 0.0, 1.0, -0.5, 0.3, 2.5) for name in ("alpha", "beta", "gamma")})


@makes("Gelu")
def gelu(rng: Rng, opset: int) -> Case:
    """A random Gelu."""
    return Case([tensor(rng)], {"approximate": one(rng, "none", "tanh")})


@makes("PRelu")
def prelu(rng: Rng, opset: int) -> Case:
    """A random PRelu."""
    x = tensor(rng)
    return Case([x, f32(rng, *broadcast(rng, x.shape))])


@makes("Clip")
def clip(rng: Rng, opset: int) -> Case:
    """A random Clip."""
    low, high = (one(rng, -1.0, 0.0, 0.5, -np.inf, float(np.finfo(np.float32).min)), one(rng, 0.7, 6.0, -0.2, np.inf))
    if opset < 11:
        return Case([tensor(rng)], {"min": low, "max": high})
    bounds = [one(rng, None, np.float32(low)), one(rng, None, np.float32(high))]
    return Case([tensor(rng), *bounds[: int(rng.integers(3))]])


@makes("Softmax", "LogSoftmax")
def softmax(rng: Rng, opset: int) -> Case:
    """A random Softmax or LogSoftmax."""
    x = tensor(rng)
    return Case([x], {"axis": axis_of(rng, x.ndim)})


@makes("Dropout")
def dropout(rng: Rng, opset: int) -> Case:
    """A random Dropout."""
    outputs = one(rng, ("y0",), ("y0", ""), ("y0", "mask"), ("y0", "y1"))
    if opset < 12:
        return Case([tensor(rng)], {"ratio": 0.4}, outputs)
    more = [one(rng, None, np.float32(0.0), np.float32(0.4)), one(rng, None, np.array(False))]
    return Case([tensor(rng), *more[: int(rng.integers(3))]], {"seed": 1}, outputs)


@makes("Cast")
def cast(rng: Rng, opset: int) -> Case:
    """A random Cast."""
    return Case([tensor(rng) * 3], {"to": one(rng, 1, 11, 6, 7, 9), "saturate": one(rng, 0, 1), "round_mode": "up"})


@makes("BatchNormalization")
def batch_normalization(rng: Rng, opset: int) -> Case:
    """A random BatchNormalization."""
    x = f32(rng, 3, *ints(rng, 1, 4, int(rng.integers(1, 4))))
    spatial = one(rng, 0, 1, 1)
    shape = x.shape[1:] if not spatial and opset < 9 else x.shape[1:2]
    params = [f32(rng, *shape), f32(rng, *shape), f32(rng, *shape), np.abs(f32(rng, *shape)) + 0.1]
    statistics = ("mean", "var") if opset >= 14 else ("mean", "var", "saved_mean", "saved_var")
    training = int(rng.integers(2))
    return Case(
        [x, *params],
        {"epsilon": 1e-2, "momentum": 0.8, "spatial": spatial, "training_mode": training},
        ("y0", *statistics) if training else ("y0",),
    )


@makes("Pow")
def power(rng: Rng, opset: int) -> Case:
    """A random Pow."""
    return Case([tensor(rng, low=0), np.full(one(rng, (), (1,), (1, 1)), one(rng, 0, 1, 2, 3), np.float32)])


@makes("Add", "Sub", "Mul", "Div", "Max", "Min")
def binary(rng: Rng, opset: int) -> Case:
    """A random Add, Sub, Mul, Div, Max or Min."""
    x = tensor(rng, low=0)
    y = one(rng, f32(rng, *broadcast(rng, x.shape)), f32(rng, *ints(rng, 1, 3, 1), *x.shape), np.float32(2.0))
    x = x[:, :1] if x.ndim > 1 and rng.integers(4) == 0 else x
    return Case([x, np.asarray(y)])


@makes("Sum", "Mean")
def variadic(rng: Rng, opset: int) -> Case:
    """A random Sum or Mean."""
    x = tensor(rng)
    return Case([x, *(f32(rng, *broadcast(rng, x.shape)) for _ in range(int(rng.integers(3))))])


@makes("Gemm")
def gemm(rng: Rng, opset: int) -> Case:
    """A random Gemm."""
    m, k, n = ints(rng, 1, 4, 3)
    a, b = one(rng, 0, 1), one(rng, 0, 1)
    bias = one(rng, (n,), (1,), (m, n), (1, n), (m, 1), ())
    more = one(rng, [], [f32(rng, *bias)])
    attributes = {"alpha": one(rng, 1.0, 0.5, 0.0), "beta": one(rng, 1.0, 0.0, -2.0), "transA": a, "transB": b}
    return Case([f32(rng, *((k, m) if a else (m, k))), f32(rng, *((n, k) if b else (k, n))), *more], attributes)


@makes("MatMul")
def matmul(rng: Rng, opset: int) -> Case:
    """A random MatMul."""
    m, k, n = ints(rng, 1, 4, 3)
    lead = tuple(ints(rng, 1, 3, int(rng.integers(3))))
    a = one(rng, (k,), (m, k), (*lead, m, k), (*broadcast(rng, lead), m, k))
    b = one(rng, (k,), (k, n), (*lead, k, n), (*broadcast(rng, lead), k, n))
    return Case([f32(rng, *a), f32(rng, *b)])


@makes("Einsum")
def einsum(rng: Rng, opset: int) -> Case:
    """A random Einsum."""
    letters = "abcd"[: int(rng.integers(1, 5))]
    size = dict(zip(letters, ints(rng, 1, 3, 4), strict=False))
    terms = ["".join(rng.permutation(list(letters))[: int(rng.integers(1, len(letters) + 1))]) for _ in range(2)]
    used = [c for c in letters if c in "".join(terms)]
    result = "".join(rng.permutation(used)[: int(rng.integers(0, len(used) + 1))])
    equation = ", ".join(terms) + one(rng, "", f" -> {result}")
    shapes = [[size[c] if rng.integers(6) else 1 for c in term] for term in terms]
    return Case([f32(rng, *shape) for shape in shapes], {"equation": equation})


@makes("Where")
def where(rng: Rng, opset: int) -> Case:
    """A random Where."""
    x = tensor(rng)
    mask, y = rng.integers(0, 2, broadcast(rng, x.shape)).astype(bool), f32(rng, *broadcast(rng, x.shape))
    return Case(*one(rng, ([mask, x, y], {}, ("y0",), 1), ([mask, y, x], {}, ("y0",), 2)))
