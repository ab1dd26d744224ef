"""PyTorch in: torch's exporter turns a module into an ONNX model, quietly and with coded errors."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import io
import logging
import operator
import sys
import warnings
from ast import literal_eval
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import onnx_ir
import onnx_ir.passes.common as common

from pathlift.frontend.doubles import literals, restore_constants
from pathlift.frontend.ks_function import define_functions
from pathlift.ir.errors import PathliftError, UnsupportedError, UsageError
from pathlift.ir.exporting import EXPORTING

if TYPE_CHECKING:
    from torch import Tensor, nn

BATCH = "N"
Example: TypeAlias = "Sequence[int] | Sequence[Tensor | Sequence[int]]"
_DOUBLED = "the example's batch of 1 was set to 2, since the batch stays open"
_SCOPES = "pkg.torch.onnx.name_scopes"
_KEPT = "namespace"  # modules and classes a node comes from; the exporter's other notes quote files of the machine


def export(
    module: nn.Module,
    example: Example,
    *,
    dynamic_batch: bool = True,
    opset: int | None = None,
    input_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
    verbose: bool = False,
) -> onnx_ir.Model:
    """Export a PyTorch module to ONNX, in eval mode; the module gets its own mode back.

    Parameters stay as the module has them: batch normalizations are not folded, and equal weights are not merged
    unless the module ties them. Nodes are named after the submodules they come from.

    Parameters
    ----------
    module
        The network.
    example
        One per argument of ``forward``: a tensor, or the shape of a float tensor. The shape alone if there is one.
    dynamic_batch
        Leave the first axis of every input open, under the name ``N``; else it is that of the example.
    opset
        ONNX opset; the exporter's default if None.
    input_names, output_names
        By default the arguments of ``forward``, and ``output`` or ``output_0``, ``output_1``, ….
    verbose
        Let the exporter print, log and warn.

    Returns
    -------
    onnx_ir.Model
        Shares the weights with the module: no copy, and no limit on their size.

    Raises
    ------
    UsageError
        onnxscript is missing, or the module does not accept the example.
    UnsupportedError
        The exporter cannot trace the module or translate one of its operations.
    """
    import torch

    if importlib.util.find_spec("onnxscript") is None:
        raise UsageError("0480", "exporting a module needs onnxscript", hint="pip install 'pathlift[export]'")
    given = example_tensors(module, example, dynamic_batch)
    inputs = doubled(given) if dynamic_batch else given
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    token = EXPORTING.set(hasattr(torch.onnx.ops, "symbolic"))
    try:
        with contextlib.nullcontext() if verbose else quietly():
            program = torch.onnx.export(
                module,
                inputs,
                dynamo=True,
                dynamic_shapes=({0: torch.export.Dim(BATCH)},) * len(inputs) if dynamic_batch else None,
                opset_version=opset,
                input_names=input_names,
                output_names=output_names,
                optimize=False,  # it would fold batch normalizations and merge equal parameters
                verbose=verbose,
            )
            assert program is not None
            assert program.exported_program is not None
            restore_constants(program.model, literals(program.exported_program))
            model = _tidy(program.model, name_outputs=output_names is None)
            define_functions(model)
        if dynamic_batch:
            _require_dynamic(model)
        if opset is not None and (written := model.opset_imports.get("")) != opset:
            raise UsageError("0487", f"torch's exporter gives opset {written}, not {opset}", hint="leave the opset out")
        return model
    except PathliftError:
        raise
    except Exception as error:
        raise _diagnose(module, inputs, error, _DOUBLED if inputs is not given else "") from error
    finally:
        EXPORTING.reset(token)
        for part, training in modes:
            part.training = training


def load_factory(spec: str) -> nn.Module:
    """Import ``package.module:factory``, from the current folder too, and return the module it names or makes.

    Parameters
    ----------
    spec
        An importable module, a colon and an attribute: a ``torch.nn.Module``, or anything that returns one when
        called without arguments (a class of modules, a function).
    """
    from torch import nn

    path, _, name = spec.partition(":")
    if not path or not name:
        raise UsageError("0481", f"{spec!r} does not name a factory", hint="write package.module:factory")
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        made = operator.attrgetter(name)(importlib.import_module(path))
        if not isinstance(made, nn.Module) and callable(made):
            made = made()
    except Exception as error:
        raise UsageError("0482", f"loading {spec!r} failed: {type(error).__name__}: {one_line(error)}") from error
    finally:
        with contextlib.suppress(ValueError):  # the factory may have changed it itself
            sys.path.remove(here)
    if not isinstance(made, nn.Module):
        raise UsageError("0483", f"{spec!r} gives a {type(made).__name__}, not a torch.nn.Module")
    return made


def example_tensors(module: nn.Module, example: Example, dynamic_batch: bool) -> tuple[Tensor, ...]:
    """Make tensors of the example, for shapes in the module's own precision and place."""
    import torch

    if isinstance(example, torch.Tensor) or not isinstance(example, Sequence):
        raise UsageError("0484", f"the example is a {type(example).__name__}, not a list of shapes or tensors")
    items = [example] if all(isinstance(item, int) for item in example) else example
    own = next((p for p in module.parameters() if p.is_floating_point()), torch.empty(0))
    tensors = [item if isinstance(item, torch.Tensor) else _zeros(item, own) for item in items]
    if dynamic_batch:
        sizes = {tensor.shape[0] if tensor.ndim else None for tensor in tensors}
        if len(sizes) > 1 or None in sizes:
            raise UsageError("0485", "the inputs do not share a first axis", hint="export with a fixed batch")
    return tuple(tensors)


def doubled(inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Make a batch of 2 of one of 1: an open axis must not be 1 long, which torch takes for a constant."""
    import torch

    return inputs if any(len(x) != 1 for x in inputs) else tuple(torch.cat((x, x)) for x in inputs)


def _zeros(shape: object, like: Tensor) -> Tensor:
    import torch

    if not isinstance(shape, Sequence) or not shape or not all(isinstance(size, int) and size > 0 for size in shape):
        raise UsageError("0484", f"the input shape {shape!r} is not a list of positive sizes")
    return torch.zeros(tuple(shape), dtype=like.dtype, device=like.device)


def _tidy(model: onnx_ir.Model, *, name_outputs: bool) -> onnx_ir.Model:
    """Fold the shape arithmetic, name nodes after submodules, and drop the exporter's notes."""
    from onnxscript import optimizer, rewriter
    from onnxscript.rewriter.rules import common as rules

    graph = model.graph
    parameters = {id(value) for value in graph.initializers.values()}
    clearing = (
        rules.materialize_reshape_shape_rule,
        rules.collapse_slice_rule,
        rules.collapse_slice2_rule,
        rules.no_op_cast_rule,
        rules.no_op_expand_rule,
        rules.no_op_transpose_rule,
        rules.squeeze_reshape_1d_rule,
    )

    def of_constants(node: onnx_ir.Node) -> bool | None:
        # what is computed from a parameter keeps the parameter, under its name
        return False if any(id(value) in parameters for value in node.inputs) else None

    common.InlinePass()(model)
    for _ in range(2):  # the second round folds what the first made constant
        optimizer.fold_constants_ir(model, onnx_shape_inference=True, should_fold=of_constants)
        rewriter.rewrite(model, clearing)
    _drop_made_up_biases(graph, parameters)
    _name_nodes(graph)
    if name_outputs:
        for index, value in enumerate(graph.outputs):
            value.name = "output" if len(graph.outputs) == 1 else f"output_{index}"
    for step in (
        common.RemoveUnusedNodesPass(),
        common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        common.OutputFixPass(),
        common.NameFixPass(),
    ):
        step(model)
    _strip(graph)
    return model


def _drop_made_up_biases(graph: onnx_ir.Graph, parameters: set[int]) -> None:
    """Drop the zeros that the exporter gives to convolutions without a bias; zeros of the module's own stay."""
    for node in graph:
        if node.op_type in {"Conv", "ConvTranspose"} and len(node.inputs) == 3:
            bias = node.inputs[2]
            value = None if bias is None or id(bias) in parameters else bias.const_value
            if value is not None and not value.numpy().any():
                node.resize_inputs(2)


def _name_nodes(graph: onnx_ir.Graph) -> None:
    """Name each node after its submodule, and its op too where the submodule has several."""
    paths = {node: _module_path(node) for node in graph if node.op_type != "Constant"}
    sizes = Counter(paths.values())
    for node, path in paths.items():
        alone = path and sizes[path] == 1
        node.name = path if alone else "/".join(filter(None, (path, node.op_type)))


def _module_path(node: onnx_ir.Node) -> str:
    scopes = literal_eval(node.metadata_props.get(_SCOPES, "[]"))  # ['', 'block', 'block.conv', 'conv2d']
    return str(scopes[-2]) if len(scopes) > 1 and scopes[0] == "" else ""


def _strip(graph: onnx_ir.Graph) -> None:
    """Drop what the exporter notes down, stack traces with paths of this machine among it."""
    values = [*graph.inputs, *graph.initializers.values(), *(value for node in graph for value in node.outputs)]
    for noted in (graph, *graph, *values):
        for key in set(noted.metadata_props) - {_KEPT}:
            del noted.metadata_props[key]


def _require_dynamic(model: onnx_ir.Model) -> None:
    """Refuse the fixed batch that the exporter silently falls back to when the network's code implies one."""
    for value in model.graph.inputs:
        if value.shape is None or isinstance(value.shape[0], int):
            raise UnsupportedError(
                "0382", f"the module works for one batch size only (input {value.name!r})", hint="fix the batch"
            )


def _diagnose(module: nn.Module, inputs: tuple[Tensor, ...], error: Exception, hint: str) -> PathliftError:
    """Name the cause: the module refuses the example, to which the hint is, or the exporter refuses the module."""
    import torch

    try:
        with torch.no_grad():
            module(*inputs)
    except Exception as refusal:
        shapes = ", ".join(str(tuple(tensor.shape)) for tensor in inputs)
        return UsageError("0486", f"the module fails on an input of shape {shapes}: {one_line(refusal)}", hint=hint)
    root: BaseException = error
    while root.__cause__ is not None:
        root = root.__cause__
    name = type(module).__name__
    if "No ONNX function found" in str(root):
        operation = str(root).partition("op='")[2].partition("'")[0]
        return UnsupportedError("0381", f"module {name!r}: {operation} has no ONNX translation")
    return UnsupportedError("0380", f"module {name!r} cannot be exported: {one_line(root)}")


def one_line(error: BaseException) -> str:
    """First line of an error's message, cut at 200 characters."""
    line = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
    return line if len(line) <= 200 else line[:199] + "…"


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Keep the exporter's prints, logs and warnings off the terminal."""
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    sink = io.StringIO()
    try:
        with (
            warnings.catch_warnings(action="ignore"),
            contextlib.redirect_stdout(sink),
            contextlib.redirect_stderr(sink),
        ):
            yield
    finally:
        logging.disable(disabled)
