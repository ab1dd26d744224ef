"""Kronecker-sparse layers as PyTorch modules."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pathlift.ir.errors import UsageError
from pathlift.ir.exporting import EXPORTING
from pathlift.ir.kronecker import Pattern, chain, parse_patterns
from pathlift.runtime.factors import expand, misfit

Patterns = str | Sequence[int] | Sequence[Sequence[int]]


class KSLinear(nn.Module):
    """y = K₁⋯K_L·x + b, with Kronecker-sparse factors: a drop-in for ``nn.Linear``.

    Parameters
    ----------
    patterns
        One pattern (a, b, c, d), or several, as they multiply from left to right; or text, ``(a,b,c,d)(a,b,c,d)…``.
    bias
        Whether there is b.
    device, dtype
        As in ``nn.Linear``.

    Attributes
    ----------
    factors
        The non-zeros of each factor, ``(a, d, b, c)``.
    bias
        ``(out_features,)``, or None.
    in_features, out_features
        Sizes of x and y.

    Raises
    ------
    UsageError
        If the patterns are none, or do not multiply.

    Notes
    -----
    Every element of a factor is drawn from U(−√(3/c), √(3/c)) for the inner factors and as in ``nn.Linear``,
    U(−1/√c, 1/√c), for the last one that is applied: each output of a factor sums c terms, so that inner factors keep
    the variance, and the whole scales it as ``nn.Linear`` does. The bias is drawn from U(−1/√in, 1/√in).

    On a CUDA device where Triton is installed, generated kernels compute the layer and its gradients, within
    ``torch.compile`` and ``torch.autocast`` too; they have no second derivatives. Products of float32 numbers are as
    exact as ``torch.set_float32_matmul_precision`` asks: by default like those of float32, on tensor cores.

    Source: Gonon, Zheng, Carrivain, Le, "Fast Inference with Kronecker-Sparse Matrices" (arXiv 2405.15013).

    Examples
    --------
    >>> layer = KSLinear("(1,192,48,2)(2,48,192,1)")
    >>> layer(torch.zeros(8, 196, 384)).shape
    torch.Size([8, 196, 384])
    """

    bias: nn.Parameter | None

    def __init__(
        self, patterns: Patterns, bias: bool = True, *, device: Any = None, dtype: torch.dtype | None = None
    ) -> None:
        super().__init__()
        self.patterns = chain(patterns_of(patterns))
        self.in_features, self.out_features = self.patterns[-1].cols, self.patterns[0].rows
        options = {"device": device, "dtype": dtype}
        self.factors = nn.ParameterList([nn.Parameter(torch.empty(p.shape, **options)) for p in self.patterns])
        self.register_parameter("bias", nn.Parameter(torch.empty(self.out_features, **options)) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new parameters."""
        for i, (factor, p) in enumerate(zip(self.factors, self.patterns, strict=True)):
            reach = (3.0 if i else 1.0) / p.c
            nn.init.uniform_(factor, -math.sqrt(reach), math.sqrt(reach))
        if self.bias is not None:
            reach = 1 / math.sqrt(self.in_features)
            nn.init.uniform_(self.bias, -reach, reach)

    def forward(self, x: Tensor) -> Tensor:
        """Apply to the last axis.

        Raises
        ------
        UsageError
            If that is not as long as the layer has inputs.
        """
        if x.shape[-1] != self.in_features:
            raise misfit(f"x has {x.shape[-1]} features, not {self.in_features}")
        exporting = _is_exporting()
        if not exporting and _has_kernels(x.device, x.dtype):
            return self._by_kernels(x)
        for factor, p in reversed(list(zip(self.factors, self.patterns, strict=True))):
            x = _exported(x, factor, p) if exporting else ks_linear(x, factor)
        return x if self.bias is None else x + self.bias

    def _by_kernels(self, x: Tensor) -> Tensor:
        """Apply generated kernels: factors one by one where gradients need what is between them."""
        from pathlift.runtime import ks_op

        factors: list[Tensor] = list(self.factors)
        bias: Tensor | None = self.bias
        if torch.is_autocast_enabled(x.device.type):
            dtype = torch.get_autocast_dtype(x.device.type)
            x, factors = x.to(dtype), [factor.to(dtype) for factor in factors]
            bias = None if bias is None else bias.to(dtype)
        if torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in (x, *factors, bias)):
            for i, factor in reversed(list(enumerate(factors))):
                x = ks_op.ks_linear(x, [factor], None if i else bias)
            return x
        y: Tensor = ks_op.ks_linear(x, factors, bias)
        return y

    @property
    def weight(self) -> Tensor:
        """The dense matrix, ``(out_features, in_features)``; gradients go to the factors."""
        first, *rest = (expand(factor) for factor in self.factors)
        for factor in rest:
            first = first @ factor
        return first

    def extra_repr(self) -> str:
        """What ``repr`` shows."""
        return f"'{''.join(map(str, self.patterns))}', bias={self.bias is not None}"


# ``torch.compile`` cannot look into what follows, and asks once.
@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]  # torch does not type it
def _is_exporting() -> bool:
    return EXPORTING.get()


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]  # torch does not type it
def _has_kernels(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether generated kernels run there."""
    from pathlift.runtime.cards import obstacle

    return not obstacle(device, dtype)


def ks_linear(x: Tensor, factor: Tensor) -> Tensor:
    """Apply a factor ``(a, d, b, c)`` to the last axis of x, of extent a·c·d.

    One batched product of strided views, which a CPU does fastest in this form whatever the pattern.
    """
    a, d, b, c = factor.shape
    rows = x.reshape(-1, a, c, d)
    y = torch.matmul(rows.permute(1, 3, 0, 2), factor.mT)
    return y.permute(2, 0, 3, 1).reshape(*x.shape[:-1], a * b * d)


def _exported(x: Tensor, factor: Tensor, p: Pattern) -> Tensor:
    """A node of pathlift's own, for its exporter."""
    y: Tensor = torch.onnx.ops.symbolic(
        "pathlift::KSLinear", (x, factor), {"abcd": list(p)}, dtype=x.dtype, shape=(*x.shape[:-1], p.rows), version=1
    )
    return y


def patterns_of(patterns: Patterns) -> tuple[Pattern, ...]:
    """Read patterns, in the order given.

    Raises
    ------
    UsageError
        If they are none.
    """
    if isinstance(patterns, str):
        return parse_patterns(patterns)
    items: list[Any] = list(patterns) if isinstance(patterns, Sequence) else [patterns]
    if items and all(isinstance(n, int) for n in items):
        items = [items]
    if not all(isinstance(p, Sequence) and len(p) == 4 and all(isinstance(n, int) for n in p) for p in items):
        raise UsageError("0460", f"{patterns!r} is no list of patterns", hint="for example (1,192,48,2)(2,48,192,1)")
    return tuple(Pattern(*p) for p in items)
