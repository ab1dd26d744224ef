"""ReLU over boxes and triples: the gate that networks have most of has closed forms, without any rounding."""

from __future__ import annotations

import torch

from pathlift.passes.intervals.box import Box
from pathlift.passes.tape.steps import Gate


def is_relu(gate: Gate) -> bool:
    """Whether a gate is max(x, 0)."""
    return gate.f.name == "Relu"


def relu(box: Box) -> Box:
    """Enclose the values on a box."""
    return Box(box.low.clamp(min=0), box.high.clamp(min=0))


def relu_difference(a: Box, b: Box, d: Box) -> Box:
    """Enclose max(z + δ, 0) − max(z, 0) where z, z + δ and δ are in these boxes.

    For δ ≥ 0 it is at most max(z + δ, 0), and at most δ. For δ ≤ 0 it is at most −min(max(z, 0), −δ). The other side is
    the same with z and z + δ exchanged. Where z_b − z_a bounds δ, z_a + δ bounds z_b and so on (`Triple.closed`), it is
    attained, and the three boxes of the result bound each other in the same way.
    """
    return Box(_rise(b.low, a.high, d.low), _rise(b.high, a.low, d.high))


def _rise(b: torch.Tensor, a: torch.Tensor, d: torch.Tensor) -> torch.Tensor:
    loss = a.neg()
    torch.maximum(loss, d, out=loss).clamp_(max=0)
    return torch.minimum(b, d).clamp_(min=0).add_(loss)  # one of both is zero
