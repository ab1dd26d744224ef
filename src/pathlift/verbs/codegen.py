"""Kernels of a model's Kronecker-sparse layers, as files."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pathlift.ir.errors import UsageError
from pathlift.ir.limits import MEMORY_LIMIT
from pathlift.models.options import Flag, Force, MemoryLimit, Model, Output, Progress, Samples, Shape
from pathlift.report.result import Result
from pathlift.report.tables import Payload, byte_size, table

if TYPE_CHECKING:
    from rich.console import RenderableType

    from pathlift.codegen.kernels import Kernel, Kernels, Step
    from pathlift.codegen.products import Product
    from pathlift.ir.cost import GraphicsCard
    from pathlift.ir.graph import Graph
    from pathlift.report.page import Page

MANIFEST = "manifest.json"


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A layer, or several that one kernel or one dense product computes.

    Parameters
    ----------
    nodes
        Names of the layers, as their matrices multiply: the last one runs first.
    patterns
        Theirs.
    samples
        Rows that the kernel was chosen for.
    step
        What was chosen; ``None`` if kernels do not know the element type.
    reason
        Why.
    """

    nodes: tuple[str, ...]
    patterns: tuple[tuple[int, ...], ...]
    samples: int
    step: Step | None
    reason: str

    @property
    def kernel(self) -> Kernel | None:
        """The kernel; ``None`` if the layer is dense."""
        return None if self.step is None else self.step.kernel

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON types; seconds, and bytes per program or, of the stack, per thread."""
        choice, kernel = self.step and self.step.choice, self.kernel
        return {
            "nodes": list(self.nodes),
            "patterns": list(map(list, self.patterns)),
            "samples": self.samples,
            "file": kernel and kernel.file,
            "sha256": kernel and kernel.sha256,
            "template": kernel and kernel.schedule.template,
            "schedule": kernel and str(kernel.schedule),
            "reason": self.reason,
            "predicted_seconds": choice and choice.cost.seconds,
            "dense_seconds": choice and choice.dense.seconds,
            "registers": kernel and kernel.report.registers,
            "shared": kernel and kernel.report.shared,
            "stack": kernel and kernel.report.stack,
        }


@dataclass(frozen=True, kw_only=True)
class CodegenResult(Result):
    """What computes each layer, and the files.

    Parameters
    ----------
    arch, device
        What kernels are compiled and chosen for.
    precision
        Of products of float32 numbers.
    triton
        The version that compiled them.
    layers
        In the order in which they run.
    output
        The folder; ``None`` if nothing was written.
    """

    arch: str
    device: str
    precision: str
    triton: str
    layers: tuple[Layer, ...]
    output: str | None = None

    ROWS = ("layers",)

    @property
    def kernels(self) -> dict[str, Kernel]:
        """Each kernel once, by the name of its file."""
        return {layer.kernel.file: layer.kernel for layer in self.layers if layer.kernel is not None}

    def manifest(self) -> dict[str, Any]:
        """Return what the manifest says besides the version of its schema."""
        about = {name: getattr(self, name) for name in ("arch", "device", "precision", "triton")}
        return {**about, "layers": [layer.to_json() for layer in self.layers]}

    def to_json(self) -> dict[str, Any]:
        return {**self.manifest(), "files": sorted(self.kernels), "output": self.output}

    def headline(self) -> str:
        return f"{len(self.kernels)} kernels for {self.arch}"

    def chart(self) -> Page | None:
        from pathlift.report.row_chart import Panel, row_chart

        choices = [None if layer.step is None else layer.step.choice for layer in self.layers]
        panels = [
            Panel("predicted time [µs]", [None if c is None else 1e6 * c.cost.seconds for c in choices]),
            Panel("as a dense product [µs]", [None if c is None else 1e6 * c.dense.seconds for c in choices]),
        ]
        return row_chart([_names({"nodes": layer.nodes}) for layer in self.layers], f"on {self.device}", panels)


def generate_kernels(
    model: Model,
    *,
    arch: Annotated[str, Flag(metavar="ARCH")] = "sm_90",
    device: Annotated[str, Flag(metavar="DEVICE", default="one of the architecture")] = "",
    samples: Samples = 4096,
    precision: Annotated[Literal["ieee", "tf32", "tf32x3"], Flag()] = "tf32x3",
    shape: Shape = None,
    tune: Annotated[bool, Flag()] = False,
    output: Output = None,
    force: Force = False,
    memory_limit: MemoryLimit = MEMORY_LIMIT,
    example: Any = None,
    progress: Annotated[Callable[[str, int, int], object] | None, Progress("compiling")] = None,
) -> CodegenResult:
    """Generate the kernels of a model's Kronecker-sparse layers for a graphics card, which need not be here.

    Biases and activations that follow a layer are part of its kernel, as `ks-epilogue` makes them. Each file is a
    module that needs torch and triton alone: ``ks_linear(x, *factors, bias=None, residual=None)`` computes the layer.

    Parameters
    ----------
    model
        A path, bytes, a ModelProto, a `Graph`, or a ``torch.nn.Module`` (then `example` is needed).
    arch
        What kernels are compiled for: sm_80, sm_86, sm_89, sm_90, sm_100 or sm_120.
    device
        What they are chosen for: h100, h200 or a100. By default a card of the architecture.
    samples
        Rows of samples, where a model leaves them open.
    precision
        Of products of float32 numbers: ieee, tf32 or tf32x3.
    shape
        Fill in symbolic dimensions. Extents by name; rows of samples are then those of the model.
    tune
        Time schedules on the card that is here, and keep the fastest. Sessions and layers on this machine use them,
        too.
    output
        The folder to write to, which is made. Kernels, one file each, and manifest.json; none is written if None.
    force
        Replace output files that exist.
    memory_limit
        Refuse larger tensors and models. In bytes.
    example
        For a module: the shape of its input, or one shape or tensor per input.
    progress
        Called with a layer's name, its number, and how many there are.

    Raises
    ------
    UsageError
        If the model has no such layers, an option is wrong, or Triton is not installed.
    OutputError
        If the output cannot be written.
    PathliftError
        If the model cannot be read.
    """
    from pathlift.codegen.architectures import architecture, card_of
    from pathlift.codegen.kernels import Kernels
    from pathlift.codegen.ks_codegen import check_samples
    from pathlift.codegen.module import require_triton
    from pathlift.codegen.products import products
    from pathlift.models.source import extents, open_model
    from pathlift.passes.kronecker.epilogue import FuseEpilogue
    from pathlift.passes.pipeline import run_pipeline

    if tune and device:
        raise UsageError("1439", "schedules are timed on the card that is here, which no name chooses")
    card = _card_here(arch) if tune else card_of(arch, device)
    check_samples(samples)
    require_triton()
    opened = open_model(model, memory_limit=memory_limit, example=example, shape=extents(shape))
    graph, _ = run_pipeline(opened.graph, [FuseEpilogue()])
    found = list(products(graph, precision))[::-1]
    if not found:
        raise UsageError("1444", "the model has no KSLinear node", hint="pathlift ks fit makes them")
    with _folder(output, force) as path:
        kernels, layers = Kernels(architecture(arch), card), list[Layer]()
        for number, product in enumerate(found):
            if progress is not None:
                progress(graph[product.keys[0]].label, number, len(found))
            if tune and product.form is not None:
                _tune(product, samples)
            layers += _layers(graph, product, samples, card, kernels)
        result = CodegenResult(
            input=opened.source,
            warnings=opened.warnings,
            assumptions=() if tune else (f"times are predicted by a cost model of {card.name}",),
            arch=arch,
            device=card.name,
            precision=precision,
            triton=_version(),
            layers=tuple(layers),
            output=None if output is None else os.fspath(output),
        )
        if path is not None:
            _write(result, path)
    return result


def _card_here(arch: str) -> GraphicsCard:
    """The card that schedules are timed on."""
    import torch

    from pathlift.runtime.cards import card

    found = card(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    if found.arch != arch:
        raise UsageError("1438", f"kernels of {arch} cannot be timed on {found.name}", hint=f"--arch {found.arch}")
    return found


def _tune(product: Product, samples: int) -> None:
    import torch

    from pathlift.runtime.tuning import tune_product

    assert product.form is not None
    tune_product(product.patterns, product.form, product.samples or samples, torch.device("cuda"))


def _layers(graph: Graph, product: Product, samples: int, card: GraphicsCard, kernels: Kernels) -> Iterator[Layer]:
    from pathlift.codegen.cache import measured
    from pathlift.codegen.ks_codegen import assign, unassigned

    rows = product.samples or samples
    names, patterns = [graph[key].label for key in product.keys], [tuple(p) for p in product.patterns]
    route = assign(product, samples, card, measured())
    if route is None:
        reason = unassigned(product)
        yield Layer(nodes=tuple(names), patterns=tuple(patterns), samples=rows, step=None, reason=reason)
        return
    end = len(names)
    for choice in route.steps:
        start = end - len(choice.patterns)
        step, part = kernels.step(choice, rows), slice(start, end)
        nodes = tuple(names[part])
        yield Layer(nodes=nodes, patterns=tuple(patterns[part]), samples=rows, step=step, reason=step.choice.reason)
        end = start


def _version() -> str:
    from importlib.metadata import version

    return version("triton")


@contextlib.contextmanager
def _folder(output: str | os.PathLike[str] | None, force: bool) -> Iterator[Path | None]:
    """Yield where to write the manifest, and kernels beside it; nothing of it is there if anything fails."""
    from pathlift.frontend.files import replacing

    if output is None:
        yield None
        return
    folder, made = Path(output), False
    try:
        folder.mkdir()
        made = True
    except FileExistsError:
        if not folder.is_dir():
            raise UsageError("1446", f"output {str(folder)!r} is a file, and kernels are written to a folder") from None
    except OSError:
        pass  # what is wrong with the folder that it is in, is said below
    try:
        with replacing(folder / MANIFEST, force=force) as path:
            yield path
    except BaseException:
        if made:
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise


def _write(result: CodegenResult, path: Path) -> None:
    for file, kernel in result.kernels.items():
        (path.parent / file).write_text(kernel.source, encoding="utf-8")
    manifest: Mapping[str, Any] = {"schema_version": 1, **result.manifest()}
    path.write_text(json.dumps(manifest, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def text(payload: Payload) -> Iterator[RenderableType]:
    """Yield one row per kernel or dense product, why layers are dense, and what was written."""
    figures = ["samples", "predicted", "dense", "registers", "shared"]
    rows = [
        [
            _names(layer),
            "".join(f"({','.join(map(str, p))})" for p in layer["patterns"]),
            layer["template"] or "none",
            f"{layer['samples']:,}",
            _microseconds(layer["predicted_seconds"]),
            _microseconds(layer["dense_seconds"]),
            "–" if layer["registers"] is None else str(layer["registers"]),
            "–" if layer["shared"] is None else byte_size(layer["shared"]),
        ]
        for layer in payload["layers"]
    ]
    yield table(
        ["layer", "pattern", "kernel", *figures],
        rows,
        right=figures,
        less=["registers", "shared", "samples", "pattern"],
    )
    for layer in payload["layers"]:
        yield f"{_names(layer)}: {layer['reason']}"
    if payload["output"]:
        count = len(payload["files"])
        kernels = f"{count} kernel{'s' * (count != 1)}"
        yield f"wrote {kernels} for {payload['arch']} and {MANIFEST} to {payload['output']}"


def _names(layer: Payload) -> str:
    """Those of its nodes, each once: factors of one layer share the layer's."""
    return " · ".join(dict.fromkeys(layer["nodes"]))


def _microseconds(seconds: float | None) -> str:
    return "–" if seconds is None else f"{1e6 * seconds:.1f} µs"
