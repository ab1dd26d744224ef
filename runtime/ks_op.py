"""A Kronecker-sparse product as an operator of torch's: with gradients, and without breaks for ``torch.compile``.

``pathlift::ks_linear`` computes y = x·(K₁⋯K_L)ᵀ + bias by generated kernels. Its gradients are kernels too: that of x
is the product with the transposed factor, whose pattern is (a, c, b, d), and that of a factor sums products over
samples. A factor has gradients on its own only, since those of several need what is between them: `nn.KSLinear` applies
one after the other while it trains.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torch.library import custom_op

from pathlift.ir.errors import UsageError


@custom_op("pathlift::ks_linear", mutates_args=())
def ks_linear(x: Tensor, factors: Sequence[Tensor], bias: Tensor | None) -> Tensor:
    """Compute x·(K₁⋯K_L)ᵀ + bias; x is (..., inputs), a factor (a, d, b, c), the result (..., outputs)."""
    from pathlift.runtime import kernels

    return kernels.ks_linear(x, factors, bias=bias)


@custom_op("pathlift::ks_linear_backward", mutates_args=())
def ks_linear_backward(grad: Tensor, x: Tensor, factor: Tensor, of_x: bool, of_factor: bool) -> tuple[Tensor, Tensor]:
    """Compute the gradients of x and of the factor; one that nobody wants is empty."""
    from pathlift.runtime import gradients, kernels

    dx = kernels.ks_linear(grad, [factor.mT]) if of_x else x.new_empty(0)
    return dx, gradients.ks_gradient(x, grad, factor.shape) if of_factor else x.new_empty(0)


@ks_linear.register_fake
def _(x: Tensor, factors: Sequence[Tensor], bias: Tensor | None) -> Tensor:
    a, d, b, _c = factors[0].shape
    return x.new_empty(*x.shape[:-1], a * d * b)


@ks_linear_backward.register_fake
def _(grad: Tensor, x: Tensor, factor: Tensor, of_x: bool, of_factor: bool) -> tuple[Tensor, Tensor]:
    dx = x.new_empty(x.shape) if of_x else x.new_empty(0)
    return dx, factor.new_empty(factor.shape) if of_factor else x.new_empty(0)


def _setup(ctx: Any, inputs: tuple[Tensor, Sequence[Tensor], Tensor | None], output: Tensor) -> None:
    x, factors, _bias = inputs
    if len(factors) != 1:
        raise UsageError("1460", f"a product of {len(factors)} factors has no gradient as one", hint="apply one by one")
    ctx.save_for_backward(x, factors[0])


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, list[Tensor | None], Tensor | None]:
    x, factor = ctx.saved_tensors
    of_x, of_factors, of_bias = ctx.needs_input_grad
    of_factor = any(of_factors) if isinstance(of_factors, Sequence) else bool(of_factors)
    dx, dw = ks_linear_backward(grad.contiguous(), x, factor, of_x, of_factor)
    bias = grad.reshape(-1, grad.shape[-1]).sum(0) if of_bias else None  # a sum over no axes would be one over all
    return dx if of_x else None, [dw if of_factor else None], bias


def _twice(ctx: Any, *grads: Tensor) -> None:
    raise UsageError(
        "1461", "the gradient of KSLinear's kernels has no gradient itself", hint="torch's own on a CPU has"
    )


ks_linear.register_autograd(_backward, setup_context=_setup)
ks_linear_backward.register_autograd(_twice)
