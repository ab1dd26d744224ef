"""Linear ops: contractions, convolutions, sums, scalings by constants, averages, resizing."""

from __future__ import annotations

from pathlift.ir.algebras.protocol import Algebra, T
from pathlift.ir.ops.registry import Floats, op
from pathlift.ir.primitives.maps import AveragePool, Contract, Conv, ConvTranspose, Reduce
from pathlift.ir.primitives.resample import Resample
from pathlift.ir.types import Ints


@op("Gemm")
def gemm(alg: Algebra[T], x: T, w: T, b: T | None = None, *, trans_w: bool = False) -> T:
    """x·w + b over the last axis of x, whatever its rank; w is (in, out), or (out, in) with trans_w."""
    y = alg.linear(Contract("...i,oi->...o" if trans_w else "...i,io->...o"), x, w)
    return y if b is None else alg.add(y, b)


@op("Einsum")
def einsum(alg: Algebra[T], x: T, w: T, *, equation: str) -> T:
    """A contraction of activations x with weights w: weights on the left, batches of weights."""
    return alg.linear(Contract(equation), x, w)


@op("Conv")
def conv(
    alg: Algebra[T], x: T, w: T, b: T | None = None, *, strides: Ints, pads: Ints, dilations: Ints, groups: int = 1
) -> T:
    """Convolution in 1, 2 or 3 spatial dimensions."""
    y = alg.linear(Conv(strides, pads, dilations, groups), x, w)
    return y if b is None else alg.add(y, b, axis=1)


@op("ConvTranspose")
def conv_transpose(
    alg: Algebra[T],
    x: T,
    w: T,
    b: T | None = None,
    *,
    strides: Ints,
    pads: Ints,
    dilations: Ints,
    output_padding: Ints,
    groups: int = 1,
) -> T:
    """Transposed convolution; w is (in, out/groups, kernel…)."""
    y = alg.linear(ConvTranspose(strides, pads, dilations, output_padding, groups), x, w)
    return y if b is None else alg.add(y, b, axis=1)


@op("Add")
def add(alg: Algebra[T], x: T, y: T) -> T:
    """x + y with broadcasting."""
    return alg.add(x, y)


@op("Sub")
def sub(alg: Algebra[T], x: T, y: T) -> T:
    """x − y with broadcasting."""
    return alg.add(x, alg.scale(y, -1.0))


@op("Sum")
def sum_(alg: Algebra[T], x: T, *rest: T) -> T:
    """The sum of any number of tensors, with broadcasting."""
    for y in rest:
        x = alg.add(x, y)
    return x


@op("Neg")
def neg(alg: Algebra[T], x: T) -> T:
    """−x."""
    return alg.scale(x, -1.0)


@op("Mul")
def mul(alg: Algebra[T], x: T, c: T) -> T:
    """x·c for a constant c, with broadcasting."""
    return alg.scale(x, c)


@op("Div")
def div(alg: Algebra[T], x: T, c: T) -> T:
    """x/c for a constant c, with broadcasting."""
    return alg.scale(x, c, reciprocal=True)


@op("AveragePool")
def average_pool(
    alg: Algebra[T],
    x: T,
    *,
    kernel: Ints,
    strides: Ints,
    pads: Ints,
    dilations: Ints,
    ceil_mode: bool = False,
    count_include_pad: bool = False,
) -> T:
    """Average over windows."""
    return alg.linear(AveragePool(kernel, strides, pads, dilations, ceil_mode, count_include_pad), x)


@op("ReduceMean")
def reduce_mean(alg: Algebra[T], x: T, *, axes: Ints = (), keepdims: bool = True) -> T:
    """Mean over axes (all of them, if none is named)."""
    return alg.linear(Reduce(axes, keepdims, mean=True), x)


@op("ReduceSum")
def reduce_sum(alg: Algebra[T], x: T, *, axes: Ints = (), keepdims: bool = True) -> T:
    """Sum over axes (all of them, if none is named)."""
    return alg.linear(Reduce(axes, keepdims, mean=False), x)


@op("Resize")
def resize(
    alg: Algebra[T],
    x: T,
    *,
    axes: Ints,
    scales: Floats = (),
    sizes: Ints = (),
    mode: str = "nearest",
    coordinates: str = "half_pixel",
    nearest_mode: str = "round_prefer_floor",
    cubic_coeff_a: float = -0.75,
    exclude_outside: bool = False,
) -> T:
    """Nearest, linear or cubic interpolation along axes, to sizes or by scales."""
    f = Resample(axes, scales, sizes, mode, coordinates, nearest_mode, cubic_coeff_a, exclude_outside)
    return alg.linear(f, x)
