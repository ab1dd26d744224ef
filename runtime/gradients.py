"""Gradients of Kronecker-sparse factors on tensors, by generated kernels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

from torch import Tensor

from pathlift.codegen.module import load
from pathlift.codegen.render import render
from pathlift.codegen.schedule import DType, Form
from pathlift.codegen.select import bucket, gradient
from pathlift.ir.kronecker import Pattern
from pathlift.runtime.cards import card, dtype_name
from pathlift.runtime.kernels import default_precision, on


def ks_gradient(x: Tensor, dy: Tensor, shape: Sequence[int]) -> Tensor:
    """Compute the gradient of a factor's non-zeros.

    Parameters
    ----------
    x
        What the layer read, (..., inputs).
    dy
        The gradient of its result, (..., outputs).
    shape
        Of the factor: (a, d, b, c).

    Returns
    -------
    Tensor
        Of that shape, in the element type of x; sums are in float32.

    Raises
    ------
    UsageError
        If kernels do not run there.
    """
    a, d, b, c = shape
    pattern, name = Pattern(a, b, c, d), dtype_name(x.dtype)
    form = Form(cast(DType, name), default_precision() if name == "float32" else "ieee")
    samples, where = math.prod(x.shape[:-1]), card(x.device)
    module = load(render(pattern, gradient(pattern, form, bucket(samples), where)))
    with on(x.device):
        result: Tensor = module.ks_gradient(
            x.resolve_neg().reshape(samples, pattern.cols),
            dy.resolve_neg().reshape(samples, pattern.rows),
            where.multiprocessors,
        )
    return result
