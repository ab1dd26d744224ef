"""Sketches while data streams through a network: what its linear layers read, and gradients by what they write."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from pathlift.ir.algebras.interpret import run
from pathlift.ir.algebras.numeric import Numeric
from pathlift.ir.errors import InvalidModelError, UnsupportedError
from pathlift.ir.foreign import running
from pathlift.ir.graph import Graph, Node
from pathlift.ir.primitives.base import Activation, Nonlinear
from pathlift.ir.types import Array, ValueType
from pathlift.passes.layers.rows import met, written
from pathlift.passes.pruning.gradients import Differentiated
from pathlift.passes.rewrites.strip_head import StripHead
from pathlift.passes.sketches.layer import LayerId, LayerSketch, LayerSums
from pathlift.passes.sketches.second_moments import Second

Tensor = torch.Tensor


@dataclass(frozen=True)
class Settings:
    """What is kept.

    Parameters
    ----------
    full_width
        Up to which width Σ x·xᵀ is kept as it is.
    rank
        Random vectors that it is multiplied by above that; 0 keeps its diagonal.
    seed
        Of these vectors, and of signs.
    outputs
        Whether gradients of the outputs are kept, too.
    mask
        An input of ones and zeros that says which positions count; empty if all do.
    """

    full_width: int = 4096
    rank: int = 256
    seed: int = 0
    outputs: bool = False
    mask: str = ""

    def second(self, width: int, what: str) -> Second:
        """Return how second moments of something are kept; its name makes the random vectors its own."""
        digest = hashlib.sha256(f"{self.seed} {what}".encode()).digest()
        return Second.of(width, self.full_width, self.rank, int.from_bytes(digest[:6], "big"))


class Recorder:
    """Executes batches in float32, and keeps sums of what layers read.

    Parameters
    ----------
    graph
        What executes them.
    layers
        Of it, by key.
    settings
        What is kept.
    signs
        Draws the signs of outputs: with v of independent signs, E[(Jᵀv)(Jᵀv)ᵀ] = JᵀJ for the Jacobian J of all outputs
        by what a layer writes (Hutchinson), for one gradient per sample.
    """

    def __init__(
        self, graph: Graph, layers: Mapping[str, LayerId], settings: Settings, signs: np.random.Generator
    ) -> None:
        self._graph = StripHead().run(graph).graph if settings.outputs else graph
        self._settings, self._signs = settings, signs
        self._sums = {
            key: LayerSums(
                layer,
                settings.second(layer.width, f"inputs of {layer.node}"),
                settings.second(layer.outputs, f"outputs of {layer.node}") if settings.outputs else None,
            )
            for key, layer in layers.items()
        }
        self._square = 0.0

    def add(self, batch: Mapping[str, Array], where: Callable[[int], str]) -> None:
        """Add a batch.

        Parameters
        ----------
        batch
            Inputs by name, samples along their first axis.
        where
            Says where a sample came from.

        Raises
        ------
        InvalidModelError
            If an activation is not finite; names the node and the sample.
        UnsupportedError
            If rows are masked and it is not known which, or the network cannot be differentiated.
        ExecutionError
            If the network fails.
        """
        pass_ = _Pass(self._graph, self._sums, batch, self._settings, where)
        with running(), torch.inference_mode(not self._settings.outputs):
            outputs = pass_.run()
            if self._settings.outputs:
                self._square += pass_.differentiate(outputs, self._signs)

    def finish(self) -> tuple[tuple[LayerSketch, ...], float | None]:
        """Return the layers' sketches so far, in the network's order, and Σ‖y‖² of the outputs if they count."""
        layers = tuple(sums.finish() for sums in self._sums.values())
        return layers, self._square if self._settings.outputs else None


class _Pass:
    """One batch on its way through."""

    def __init__(
        self, graph: Graph, sums: Mapping[str, LayerSums], batch: Mapping[str, Array], settings: Settings,
        where: Callable[[int], str],
    ) -> None:  # fmt: skip
        self._graph, self._sums, self._batch, self._where = graph, sums, batch, where
        self._outputs = settings.outputs
        self._count = len(next(iter(batch.values())))
        self._mask = np.asarray(batch[settings.mask]) != 0 if settings.mask else None
        samples = None if self._mask is None else self._mask.reshape(self._count, -1).any(1)
        self._counted = None if samples is None else torch.from_numpy(samples)
        """Which samples have a position that counts; ``None`` for all."""
        self._written: dict[str, tuple[Node, Tensor, Tensor | None]] = {}

    def run(self) -> dict[str, Tensor]:
        """Execute, and add what layers read."""
        algebra = _Differentiable(self._weights()) if self._outputs else Numeric(torch.float32)
        feeds = {name: algebra.tensor(np.asarray(x)) for name, x in self._batch.items()}
        return run(self._graph, algebra, feeds, observe=self._observe)

    def _weights(self) -> dict[str, Tensor]:
        """The layers' weights as leaves: gradients of what layers write are taken on the way to them."""
        found = {}
        for key in self._sums:
            value = self._graph.inputs_of(key)[1]
            assert value is not None
            param = self._graph[value.node].value
            assert param is not None
            found[self._graph.name_of(value)] = torch.from_numpy(param.numpy().astype(np.float32)).requires_grad_()
        return found

    def _observe(self, key: str, node: Node, inputs: tuple[Tensor | None, ...], outputs: tuple[Tensor, ...]) -> None:
        if self._outputs:
            self._check_differentiable(node, inputs, outputs)
        if key not in self._sums or inputs[0] is None:
            return
        sums, x = self._sums[key], inputs[0].detach()
        shape = sums.sketch.layer.shape
        keep = None if self._mask is None else self._kept(node, x, self._mask)
        values = x if keep is None else x.reshape(-1, x.shape[-1])[keep]
        if not bool(values.isfinite().all()):
            raise InvalidModelError(
                "0185", f"node {node.label!r} ({node.op}): what it reads is not finite in {self._sample(x)}"
            )
        rows = met(node, x, shape)
        sums.add((rows if keep is None else rows[:, keep]).numpy(), values.numpy())
        if self._outputs:
            self._written[key] = (node, outputs[0], keep)

    def _sample(self, x: Tensor) -> str:
        """Where the first value came from that is not finite."""
        if x.ndim and x.shape[0] == self._count:
            bad = ~x.isfinite().reshape(self._count, -1).all(1)
            return self._where(int(bad.nonzero()[0]))
        return f"a batch from {self._where(0)} on"

    def _kept(self, node: Node, x: Tensor, mask: Array) -> Tensor | None:
        """Which rows of a layer count; ``None`` for all."""
        about = f"node {node.label!r} ({node.op})"
        if node.op not in ("Gemm", "KSLinear") or node.attrs.get("feature_major", False):
            raise UnsupportedError("0306", f"{about}: which of its rows are masked is not known", hint="--layers")
        if tuple(x.shape[:-1]) == (self._count,):
            return self._counted  # a row per sample
        if tuple(x.shape[:-1]) != mask.shape or (mask.ndim > 1 and mask.shape[0] == mask.shape[1] > 1):
            shapes = f"it reads {list(x.shape)}, the mask is {list(mask.shape)}"
            raise UnsupportedError("0306", f"{about}: which of its rows are masked is not known: {shapes}")
        return torch.from_numpy(mask.reshape(-1))

    def _check_differentiable(self, node: Node, inputs: tuple[Tensor | None, ...], outputs: tuple[Tensor, ...]) -> None:
        """Check that an op does not cut gradients off, which would then be zero without being so."""
        follows = any(isinstance(x, torch.Tensor) and x.requires_grad for x in inputs)
        cut = [y for y in outputs if not isinstance(y, torch.Tensor) or (y.is_floating_point() and not y.requires_grad)]
        fused = node.op == "KSLinear" and bool(node.attrs.get("activation"))
        if (follows and cut) or fused:
            op = str(node.attrs.get("op_type", node.op))
            raise UnsupportedError("0307", f"node {node.label!r} ({op}): it has no gradients", hint="no --outputs")

    def differentiate(self, outputs: Mapping[str, Tensor], signs: np.random.Generator) -> float:
        """Add gradients of the outputs by what layers wrote; return Σ‖y‖²."""
        scores = {name: y for name, y in outputs.items() if isinstance(y, torch.Tensor) and y.is_floating_point()}
        if not scores:
            raise UnsupportedError("0307", "no output is a tensor of real numbers", hint="no --outputs")
        total, square = torch.zeros(()), 0.0
        for name, y in scores.items():
            if not y.ndim or y.shape[0] != self._count:
                raise UnsupportedError("0307", f"output {name!r} has no row per sample: it is {list(y.shape)}")
            v = torch.from_numpy(2 * signs.integers(0, 2, y.shape).astype(np.float32) - 1)
            counted = y.detach() if self._counted is None else y.detach()[self._counted]
            total, square = total + (v * y).sum(), square + float(counted.double().square().sum())
        found = [y for _, y, _ in self._written.values()]
        gradients = torch.autograd.grad(total, found, allow_unused=True) if total.requires_grad else [None] * len(found)
        for (key, (node, _, keep)), g in zip(self._written.items(), gradients, strict=True):
            sums = self._sums[key]
            if g is None:
                continue
            if not bool(g.isfinite().all()):
                message = f"node {node.label!r} ({node.op}): gradients by what it writes are not finite in"
                raise InvalidModelError("0185", f"{message} {self._sample(g)}")
            rows = written(node, g, sums.sketch.layer.shape)
            sums.add_gradients((rows if keep is None else rows[keep]).numpy())
        return square


class _Differentiable(Differentiated):
    """The same in float32; what ONNX Runtime executes has no gradients, and what rounds has none but 0."""

    def __init__(self, parameters: Mapping[str, Tensor]) -> None:
        super().__init__(parameters)
        self.dtype = torch.float32

    def gate(self, x: Tensor, f: Activation, *params: Tensor) -> Tensor:
        if f.jump and x.requires_grad:
            raise UnsupportedError("0307", "it rounds: its gradient is 0 wherever it has one", hint="no --outputs")
        return super().gate(x, f, *params)

    def apply(self, f: Nonlinear, xs: Sequence[Any], types: Sequence[ValueType]) -> tuple[Any, ...]:
        if f.execute is None and any(isinstance(x, torch.Tensor) and x.requires_grad for x in xs):
            raise UnsupportedError("0307", "it is executed elsewhere, and has no gradients", hint="no --outputs")
        return super().apply(f, xs, types)
