"""The two parts of a torch module: what it computes from its own tensors alone, and what it makes of its inputs.

Weight norms, masks, low-rank factors and casts are computations on weights. In a graph of the whole module their
results are constants. Cut off, they can be repeated whenever the weights change, and differentiated.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.export import Dim, ExportedProgram
from torch.export.graph_signature import InputKind, OutputKind

from pathlift.frontend.export import BATCH, Example, doubled, example_tensors, export, one_line, quietly
from pathlift.ir.errors import UnsupportedError

STEP_FUNCTIONS = frozenset(["round", "sign", "sgn", "floor", "ceil", "trunc", "heaviside"])
"""Operations whose derivative is zero wherever there is one."""


@dataclass(frozen=True)
class Split:
    """A module in two parts.

    Attributes
    ----------
    network
        Computes what the module does in eval mode; the module itself if it computes nothing from its tensors alone.
    tensors
        The very tensors that `network` holds and reads, by name: the module's own, and the computed ones.
    weights
        Computes the latter from the module's own; differentiable.
    arguments
        Names of the module's tensors that `weights` takes, in order.
    computed
        Names of the tensors that `weights` returns, in order.
    attributes
        Names of the module's tensors that are neither parameters nor buffers, but plain attributes.
    """

    network: nn.Module
    tensors: Mapping[str, Tensor]
    weights: fx.GraphModule
    arguments: tuple[str, ...]
    computed: tuple[str, ...]
    attributes: frozenset[str]

    @property
    def reads(self) -> frozenset[str]:
        """Names of the module's tensors that either part reads."""
        return frozenset(self.tensors).union(self.arguments).difference(self.computed)

    def compute(self, own: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the computed tensors, given the module's own."""
        return dict(zip(self.computed, self.weights(*(own[name] for name in self.arguments)), strict=True))


def split(module: nn.Module, example: Example) -> Split:
    """Split a module into what it computes from its own tensors and what it makes of its inputs.

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
        The module cannot be traced, or its weights cannot be followed: they are random, their gradient is not that of
        the operations they are computed by, or they are kept where nothing can look them up again.
    """
    program, switches = _trace(module, example)
    own = named_tensors(module)
    attributes = _attributes(module, program, own)
    own |= attributes
    graph, values = _unlifted(program)
    values |= own
    cut = _cut(graph, own)
    if cut and switches:
        raise UnsupportedError(
            "0384", f"{_where(cut[0])} is computed in a forward that switches gradients off", hint="use detach() there"
        )
    part, arguments = _part(graph, cut, own)
    _check(part, [isinstance(own[name], nn.Parameter) or own[name].requires_grad for name in arguments])
    weights = fx.GraphModule(values, part)
    computed = tuple(f"{_path(node)}/{node.name}" for node in cut)
    with torch.no_grad():
        values |= zip(computed, weights(*(own[name] for name in arguments)), strict=True)
    _read_instead(graph, cut, computed)
    read = {node.target for node in graph.find_nodes(op="get_attr")}
    tensors = {name: values[name] for name in (*own, *computed) if name in read}
    network = fx.GraphModule(values, graph, type(module).__name__) if cut else module
    return Split(network, tensors, weights, arguments, computed, frozenset(attributes))


def named_tensors(module: nn.Module) -> dict[str, Tensor]:
    """Return a module's parameters and buffers, tied ones under each of their names."""
    parameters = module.named_parameters(remove_duplicate=False)
    return {**dict(parameters), **dict(module.named_buffers(remove_duplicate=False))}


def _trace(module: nn.Module, example: Example) -> tuple[ExportedProgram, bool]:
    """Return what the module does in eval mode, free of mutation, and whether it switches gradients on or off."""
    inputs = doubled(example_tensors(module, example, True))
    shapes = ({0: Dim(BATCH)},) * len(inputs)
    try:
        with quietly(), _evaluating(module):
            program = torch.export.export(module, inputs, dynamic_shapes=shapes, strict=False)
            switches = any("set_grad_enabled" in str(node.target) for node in program.graph.nodes)
            return program.run_decompositions({}), switches
    except Exception as error:
        export(module, example)  # says what is wrong with the module or the example
        raise UnsupportedError(
            "0383", f"module {type(module).__name__!r} cannot be traced: {one_line(error)}"
        ) from error


@contextlib.contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training


def _attributes(module: nn.Module, program: ExportedProgram, own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors that the module keeps as plain attributes, by name."""
    found, storages = {}, {tensor.untyped_storage().data_ptr() for tensor in own.values() if tensor.numel()}
    for spec in program.graph_signature.input_specs:
        if spec.kind is not InputKind.CONSTANT_TENSOR or spec.target is None:
            continue
        tensor, named = program.constants[spec.target], False
        with contextlib.suppress(AttributeError):
            named = attrgetter(spec.target)(module) is tensor
        if named and tensor.grad_fn is None:
            found[spec.target] = tensor
        elif tensor.requires_grad or tensor.untyped_storage().data_ptr() in storages:
            what = repr(spec.target) if named else f"of shape {tuple(tensor.shape)} in a container"
            raise UnsupportedError(
                "0385",
                f"module {type(module).__name__!r}: the tensor {what} is trained, but is no parameter",
                hint="read parameters where the module registers them, and compute with them in forward",
            )
    return found


def _unlifted(program: ExportedProgram) -> tuple[fx.Graph, dict[str, Any]]:
    """Return the graph from the caller's inputs to the caller's outputs, and the constants that it names."""
    signature = program.graph_signature
    held = {spec.arg.name: spec.target for spec in signature.input_specs if spec.kind is not InputKind.USER_INPUT}
    returned = [spec.kind is OutputKind.USER_OUTPUT for spec in signature.output_specs]  # others: changed buffers
    graph, copies, values = fx.Graph(), dict[fx.Node, fx.Node](), dict[str, Any](program.constants)
    for node in program.graph.nodes:
        if node.op == "output":
            outputs = tuple(itertools.compress(node.args[0], returned))
            graph.output(fx.map_arg(outputs, copies.__getitem__))
        elif node.op == "placeholder" and node.name in held:
            copies[node] = graph.create_node("get_attr", held[node.name])
            copies[node].meta = node.meta
        else:
            copies[node] = graph.node_copy(node, copies.__getitem__)
            if node.op == "get_attr":
                values[node.target] = attrgetter(node.target)(program.graph_module)
    _drop_unused(graph)
    return graph, values


def _drop_unused(graph: fx.Graph) -> None:
    """Drop what no output depends on, assertions included."""
    graph.eliminate_dead_code(lambda node: node.op in ("placeholder", "output"))


def _cut(graph: fx.Graph, own: Container[str]) -> tuple[fx.Node, ...]:
    """Return the float tensors that are computed from `own` ones alone and that something else reads."""
    weights, signals = set[fx.Node](), set[fx.Node]()
    for node in graph.nodes:
        sources = {*node.all_input_nodes}
        if node.op in ("placeholder", "output") or sources & signals:
            signals.add(node)
        elif (node.op == "get_attr" and node.target in own) or sources & weights:
            weights.add(node)
    computed = (node for node in graph.nodes if node in weights and node.op == "call_function")
    return tuple(node for node in computed if _holds(node, floats=True) and signals & node.users.keys())


def _part(graph: fx.Graph, cut: Sequence[fx.Node], own: Container[str]) -> tuple[fx.Graph, tuple[str, ...]]:
    """Return the part of a graph that computes some nodes from `own` tensors, and the names of those."""
    needed = {*cut}
    for node in reversed(graph.nodes):
        if node in needed:
            needed |= {*node.all_input_nodes}
    arguments = {n: n.target for n in graph.find_nodes(op="get_attr") if n in needed and n.target in own}
    part = fx.Graph()
    copies = {node: part.placeholder(node.name) for node in arguments}
    for node in graph.nodes:
        if node in needed and node not in copies:
            copies[node] = part.node_copy(node, copies.__getitem__)
    part.output(tuple(copies[node] for node in cut))
    return part, tuple(arguments.values())


def _read_instead(graph: fx.Graph, cut: Sequence[fx.Node], names: Sequence[str]) -> None:
    """Make a graph read some nodes by name, and not compute them."""
    for node, name in zip(cut, names, strict=True):
        with graph.inserting_before(node):
            node.replace_all_uses_with(graph.create_node("get_attr", name))
    _drop_unused(graph)


def _check(part: fx.Graph, trainable: Sequence[bool]) -> None:
    """Refuse weights that are random, or that a rounding of trainable arguments makes constant almost everywhere."""
    moving, steps = {*itertools.compress(part.nodes, trainable)}, dict[fx.Node, str]()
    for node in part.nodes:
        sources, operation = node.all_input_nodes, getattr(getattr(node.target, "overloadpacket", None), "__name__", "")
        if torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ()):
            raise UnsupportedError("0386", f"{_where(node)} is random")
        if operation == "detach" or _holds(node, floats=False) or moving.isdisjoint(sources):
            continue  # no gradient passes here
        step = operation if operation in STEP_FUNCTIONS else next((steps[x] for x in sources if x in steps), "")
        if step and node.op == "output":
            raise UnsupportedError(
                "0387",
                f"{_where(next(x for x in sources if x in steps))} passes through {step}, where gradients vanish",
                hint="instead of a torch.autograd.Function, write w + (f(w) - w).detach()",
            )
        moving.add(node)
        if step:
            steps[node] = step


def _holds(node: fx.Node, *, floats: bool) -> bool:
    """Whether a node is a tensor, of floats or of something else."""
    value = node.meta.get("val")
    return isinstance(value, Tensor) and value.is_floating_point() == floats


def _path(node: fx.Node) -> str:
    """Name of the submodule that a node belongs to."""
    return next((path for path, _ in reversed((node.meta.get("nn_module_stack") or {}).values())), "")


def _where(node: fx.Node) -> str:
    return f"the weight {node.name!r}" + (f" of {path!r}" if (path := _path(node)) else "")
