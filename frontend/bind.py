"""A torch module as a graph whose parameters can be read anew, as tensors that carry gradients."""

from __future__ import annotations

import contextlib
import dataclasses
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import numpy as np
import onnx_ir
import torch
from torch import Tensor, nn

from pathlift.frontend.export import Example, export, one_line
from pathlift.frontend.lower import lower
from pathlift.frontend.read import read_model
from pathlift.frontend.split import Split, named_tensors, split
from pathlift.ir.errors import UnsupportedError, UsageError
from pathlift.ir.graph import Graph
from pathlift.ir.types import Array, is_float

AGAIN = "bind the module again"


@dataclass(frozen=True)
class ParamSource:
    """Where the values of a parameter of the graph come from.

    Parameters
    ----------
    name
        Of a tensor of the module, or of one computed from them.
    shape
        The parameter's; its elements come in the tensor's order.
    negated
        Whether they are the tensor's, negated.
    """

    name: str
    shape: tuple[int, ...]
    negated: bool = False

    def of(self, tensor: Tensor) -> Tensor:
        """Return the parameter's values."""
        if self.negated:
            tensor = -tensor
        return tensor if tensor.shape == self.shape else tensor.reshape(self.shape)


@dataclass(frozen=True)
class TensorGuard:
    """What was true of a tensor of the module when it was bound, and must stay true.

    Parameters
    ----------
    shape, floats
        Its shape, and whether it holds real numbers.
    tied
        The names that the module has for it.
    values
        A copy, if the graph depends on what it holds.
    """

    shape: torch.Size
    floats: bool
    tied: tuple[str, ...]
    values: Tensor | None

    @classmethod
    def of(cls, name: str, own: Mapping[str, Tensor], *, fixed: bool) -> TensorGuard:
        """Describe a tensor; what is not a float may shape the graph, and is `fixed` then."""
        tensor = own[name]
        floats = tensor.is_floating_point()
        tied = tuple(other for other, candidate in own.items() if candidate is tensor)
        return cls(tensor.shape, floats, tied, tensor.cpu().clone() if fixed and not floats else None)

    def check(self, name: str, own: Mapping[str, Tensor]) -> None:
        """Raise unless all this is still true of the tensor of this name."""
        tensor = own.get(name)
        if tensor is None:
            raise UsageError("0488", f"the module has no tensor {name!r} any more", hint=AGAIN)
        if tensor.shape != self.shape or tensor.is_floating_point() != self.floats:
            now = f"{tensor.dtype} of shape {tuple(tensor.shape)}"
            raise UsageError(
                "0489", f"the module's tensor {name!r} is {now} now; it was {tuple(self.shape)}", hint=AGAIN
            )
        if any(own.get(other) is not tensor for other in self.tied):
            raise UsageError("0492", f"the module's tensors {', '.join(self.tied)} are tied no more", hint=AGAIN)
        if self.values is not None and not torch.equal(tensor.cpu(), self.values):
            raise UsageError("0493", f"{name!r} has changed, on whose values the graph depends", hint=AGAIN)


@dataclass(frozen=True)
class Bound:
    """A module and the graph of what it computes, whose parameters follow the module's.

    Attributes
    ----------
    graph
        What the module computes in eval mode, with the parameters that it had when it was bound.
    module
        The module.
    parts
        What it computes from its own tensors, cut off.
    sources
        Where the graph's parameters come from, by name; those that are not there are constants.
    held
        The module's tensors that the graph's parameters come from, by name.
    """

    graph: Graph
    module: nn.Module
    parts: Split
    sources: Mapping[str, ParamSource]
    held: Mapping[str, TensorGuard]

    def released(self) -> Bound:
        """Return the same, but keep the module no longer alive."""
        parts = dataclasses.replace(self.parts, network=nn.Identity(), tensors={})
        module: Any = weakref.proxy(self.module)
        return dataclasses.replace(self, module=module, parts=parts)

    def live(self) -> dict[str, Tensor]:
        """Return the present values of the graph's parameters, by name; constants are left out.

        They are, or are computed from, the very tensors that the module holds, on their device and in their dtype:
        gradients reach them.

        Raises
        ------
        UsageError
            The module is no longer the one that was bound: a tensor is gone or has another shape, tied ones are tied
            no more, integers that the graph depends on have changed, or computing the weights fails.
        """
        own = _own(self.module, self.parts)
        for name, held in self.held.items():
            held.check(name, own)
        try:
            tensors = {**own, **self.parts.compute(own)}
        except RuntimeError as error:
            raise UsageError("0494", f"computing the module's weights failed: {one_line(error)}", hint=AGAIN) from error
        return {param: source.of(tensors[source.name]) for param, source in self.sources.items()}


def bind(module: nn.Module, example: Example) -> Bound:
    """Export a module, and find out which parameters of the graph come from which of its tensors.

    What the module computes from its tensors alone (weight norms, masks, low-rank factors, casts) is followed too.

    Parameters
    ----------
    module
        The network; gets its own modes back.
    example
        As for `pathlift.frontend.export.export`.

    Raises
    ------
    UsageError
        The module does not accept the example.
    UnsupportedError
        The module cannot be exported, or the graph depends on its tensors in a way that cannot be followed.
    """
    parts = split(module, example)
    model = export(parts.network, example)
    names = _initializers(model, parts.tensors)
    read = read_model(model).model
    graph = lower(read)
    values = _disturb(read, names)
    sources = _sources(graph, lower(read), names, values)
    own = _own(module, parts)
    held = {name: TensorGuard.of(name, own, fixed=name in parts.tensors) for name in parts.reads}
    return Bound(graph, module, parts, sources, held)


def _own(module: nn.Module, parts: Split) -> dict[str, Tensor]:
    found = named_tensors(module)
    for name in parts.attributes - found.keys():
        with contextlib.suppress(AttributeError):
            found[name] = attrgetter(name)(module)
    return found


def _initializers(model: onnx_ir.Model, tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """Return which tensors the initializers are: the exporter hands on the very objects, under names of its own."""
    names = {id(tensor): name for name, tensor in tensors.items()}
    values = {key: getattr(value.const_value, "raw", None) for key, value in model.graph.initializers.items()}
    found = {key: names[id(tensor)] for key, tensor in values.items() if id(tensor) in names}
    if lost := {*names.values()} - {*found.values()}:
        raise UnsupportedError("0388", f"the exporter does not hand on the module's tensor {min(lost)!r}")
    return found


def _disturb(model: onnx_ir.Model, names: Mapping[str, str]) -> dict[str, Array]:
    """Put other numbers into the initializers of these names, and return those numbers by tensor."""
    rng, values = np.random.default_rng(0), dict[str, Array]()
    for key, name in names.items():
        stored = model.graph.initializers[key].const_value
        assert stored is not None
        if is_float(dtype := stored.dtype.numpy()):
            values[name] = (rng.random(stored.shape.numpy(), np.float32) + 0.5).astype(dtype)
            model.graph.initializers[key].const_value = onnx_ir.tensor(values[name])
    return values


def _sources(
    graph: Graph, disturbed: Graph, names: Mapping[str, str], values: Mapping[str, Array]
) -> dict[str, ParamSource]:
    """Return where the parameters of a graph come from, given what became of it when tensors took other values."""
    sources = {}
    for key in graph.order:
        node = graph[key]
        if key not in disturbed or _reading(graph, key) != _reading(disturbed, key):
            raise UnsupportedError(
                "0389",
                f"what node {node.label!r} ({node.op}) does depends on the value of a parameter",
                hint="if it is not trained, make it a number",
            )
        param, other = node.value, disturbed[key].value
        if param is None or other is None or key not in graph.live:
            continue
        name = node.names[0]
        if names.get(name) in values:
            sources[name] = ParamSource(names[name], param.shape)
        elif param.numpy().tobytes() != other.numpy().tobytes():
            sources[name] = _source(name, other.numpy(), values)
    return sources


def _reading(graph: Graph, key: str) -> tuple[object, ...]:
    """Return all that reading the model has made of a node, but for a parameter's values."""
    node = graph[key]
    return node.op, dict(node.attrs), node.names, node.types, graph.inputs_of(key)


def _source(name: str, found: Array, values: Mapping[str, Array]) -> ParamSource:
    """Recognize the values of a parameter among those of the tensors, which are random and so tell them apart."""
    matches = [
        ParamSource(tensor, found.shape, negated)
        for tensor, array in values.items()
        if array.size == found.size and array.dtype == found.dtype
        for negated in (False, True)
        if (-array if negated else array).tobytes() == found.tobytes()
    ]
    if len(matches) != 1:
        raise UnsupportedError(
            "0390",
            f"tensor {name!r} is computed from parameters where it cannot be followed",
            hint="compute it in forward, as a tensor and in an operation of its own",
        )
    return matches[0]
