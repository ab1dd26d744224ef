"""The verbs' command lines. Each is a thin coat over the public function of the same name, imported when it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from pathlift.cli import ks, parse, render, render_rescaling, runtime
from pathlift.cli.frame import verb
from pathlift.cli.options import AssumeEval, Force, MemoryLimit, Model, Output
from pathlift.cli.terminal import note, write
from pathlift.report.result import Result

app = typer.Typer(
    add_completion=False,
    help="Path-norms, rescaling and certificates of neural networks, as compiler passes over ONNX models.",
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["--help", "-h"]},
)

app.add_typer(ks.app, name="ks")
app.add_typer(runtime.app)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        write(f"pathlift {version('pathlift')}\n")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    del version  # its callback has dealt with it


@app.command()
@verb(render.inspect)
def inspect(model: Model, memory_limit: MemoryLimit = "8GB") -> Result:
    """Show a model's ops, shapes and parameters, and which analyses apply to it and why not."""
    from pathlift.verbs.inspect import inspect

    return inspect(model, memory_limit=parse.size(memory_limit))


@app.command()
@verb(render.norm)
def norm(
    model: Model,
    q: Annotated[str, typer.Option("--q", metavar="Q,...", help="Exponents: 0, inf, or between 1e-6 and 1e6.")] = "1",
    mixed: Annotated[
        float | None,
        typer.Option(
            "--mixed", metavar="R", help="Combine the q-norms of the outputs by an R-norm.", show_default=False
        ),
    ] = None,
    pooling: Annotated[
        Literal["sum", "max"], typer.Option("--pooling", help="How paths that meet in a pooling window combine.")
    ] = "sum",
    inputs_only: Annotated[bool, typer.Option("--inputs-only", help="Leave out paths that start at a bias.")] = False,
    dtype: Annotated[Literal["float64", "float32"], typer.Option("--dtype", help="Compute in.")] = "float64",
    device: Annotated[str, typer.Option("--device", help="Compute on cpu, cuda, cuda:0, ...")] = "cpu",
    shape: Annotated[
        str | None,
        typer.Option("--shape", metavar="NAME=SIZE,...", help="Fill in symbolic dimensions.", show_default=False),
    ] = None,
    per_layer: Annotated[bool, typer.Option("--per-layer", help="Show each layer's gain and share.")] = False,
    heaviest_path: Annotated[
        bool, typer.Option("--heaviest-path", help="Show the path with the largest product of weights.")
    ] = False,
    regions: Annotated[
        bool, typer.Option("--regions", help="Compute the norms of each supported part of the network, on its own.")
    ] = False,
    weights: Annotated[
        Path | None,
        typer.Option(
            "--weights", metavar="FILE.npz", help="Write each weight's share, by parameter name.", show_default=False
        ),
    ] = None,
    chart: Annotated[
        Path | None,
        typer.Option(
            "--chart", metavar="FILE", help="Draw the layers' gains and shares: .svg, .png or .pdf.", show_default=False
        ),
    ] = None,
    force: Force = False,
    full: Annotated[bool, typer.Option("--full", help="List per-output figures past 10,000 outputs too.")] = False,
    memory_limit: MemoryLimit = "8GB",
    assume_eval: AssumeEval = False,
) -> Result:
    """Compute the path-norms of a network."""
    from pathlift.verbs.norm import norm

    return norm(
        model,
        q=parse.exponents(q),
        mixed=mixed,
        pooling=pooling,
        inputs_only=inputs_only,
        dtype=dtype,
        device=device,
        shape=parse.extents(shape) if shape is not None else None,
        per_layer=per_layer,
        heaviest_path=heaviest_path,
        regions=regions,
        weights=weights,
        chart=chart,
        force=force,
        full=full,
        memory_limit=parse.size(memory_limit),
        assume_eval=assume_eval,
    )


@app.command()
@verb(render.export)
def export(
    module: Annotated[
        str,
        typer.Argument(metavar="PACKAGE.MODULE:FACTORY", help="A function without arguments that returns a module."),
    ],
    shape: Annotated[list[str], typer.Option("--shape", metavar="N,C,...", help="Shape of an input; once per input.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The ONNX file to write.")],
    opset: Annotated[
        int | None, typer.Option("--opset", help="ONNX opset version.", show_default="the exporter's")
    ] = None,
    force: Force = False,
) -> Result:
    """Export a PyTorch module to ONNX."""
    from pathlift.verbs.export import export

    return export(module, shape=tuple(map(parse.shape, shape)), output=output, opset=opset, force=force)


@app.command()
@verb(render_rescaling.canonicalize)
def canonicalize(
    model: Model,
    norm: Annotated[
        str, typer.Option("--norm", metavar="NORM", help="l1, l2, lq:Q, balanced or path-conditioned.")
    ] = "l1",
    exact: Annotated[
        bool, typer.Option("--exact", help="By powers of two: outputs stay the same to the last bit.")
    ] = False,
    shape: Annotated[
        str | None,
        typer.Option(
            "--shape",
            metavar="NAME=SIZE,...",
            help="Fill in symbolic dimensions, for path-conditioned.",
            show_default=False,
        ),
    ] = None,
    output: Output = None,
    force: Force = False,
    memory_limit: MemoryLimit = "8GB",
    assume_eval: AssumeEval = False,
) -> Result:
    """Rescale neurons to the form that every rescaled copy of a network shares."""
    from pathlift.verbs.canonicalize import canonicalize

    return canonicalize(
        model,
        norm=norm,
        exact=exact,
        shape=parse.extents(shape) if shape is not None else None,
        output=output,
        force=force,
        memory_limit=parse.size(memory_limit),
        assume_eval=assume_eval,
    )


@app.command()
@verb(render_rescaling.compare)
def compare(
    first: Annotated[Path, typer.Argument(metavar="FIRST", help="An ONNX file.", show_default=False)],
    second: Annotated[Path, typer.Argument(metavar="SECOND", help="Another one.", show_default=False)],
    modulo: Annotated[
        str,
        typer.Option(
            "--modulo", metavar="SYMMETRY,...", help="Up to what: rescaling, permutation, or both.", show_default=False
        ),
    ],
    tolerance: Annotated[
        float | None,
        typer.Option(
            "--tolerance",
            metavar="R",
            help="Relative difference of two weights that counts as none.",
            show_default="1e-9 for float64, 1e-5 for float32, more below",
        ),
    ] = None,
    memory_limit: MemoryLimit = "8GB",
    assume_eval: AssumeEval = False,
) -> Result:
    """Decide whether two models are the same function up to symmetries of their weights."""
    from pathlift.verbs.compare import compare

    return compare(
        first,
        second,
        modulo=parse.names(modulo),
        tolerance=tolerance,
        memory_limit=parse.size(memory_limit),
        assume_eval=assume_eval,
    )


@app.command()
@verb(render.opt)
def opt(
    model: Model,
    pipeline: Annotated[
        str, typer.Option("--pipeline", "-p", metavar="PASS{OPTION=VALUE},...", help="Passes to run, in order.")
    ] = "",
    output: Output = None,
    print_after_all: Annotated[
        bool, typer.Option("--print-after-all", help="Print the IR after each pass, on stderr.")
    ] = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="Compare outputs with the original's in ONNX Runtime; write if they agree.")
    ] = False,
    tolerance: Annotated[
        float | None,
        typer.Option(
            "--tolerance",
            metavar="R",
            help="Relative difference that --verify accepts; inf to only report it.",
            show_default="1e-9 for float64, 1e-4 for float32, 5e-2 below",
        ),
    ] = None,
    norms: Annotated[
        str | None,
        typer.Option(
            "--norms", metavar="Q,...", help="Compute path-norms before and after each pass.", show_default=False
        ),
    ] = None,
    shape: Annotated[
        str | None,
        typer.Option(
            "--shape",
            metavar="NAME=SIZE,...",
            help="Fill in symbolic dimensions, for --verify and --norms.",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Of the inputs that --verify draws.")] = 0,
    force: Force = False,
    memory_limit: MemoryLimit = "8GB",
) -> Result:
    """Run passes over a model, and print its IR or write it back as ONNX."""
    from pathlift.verbs.opt import opt

    def show(name: str, text: str) -> None:
        for line in [f"# after {name}", *text.splitlines()]:
            note(line)

    return opt(
        model,
        pipeline,
        output=output,
        force=force,
        memory_limit=parse.size(memory_limit),
        after_each=show if print_after_all else None,
        verify=verify,
        tolerance=tolerance,
        norms=parse.exponents(norms, "--norms") if norms is not None else (),
        shape=parse.extents(shape) if shape is not None else None,
        seed=seed,
    )


@app.command()
@verb(render.passes)
def passes() -> Result:
    """List the passes, their options, and a line of help for each."""
    from pathlift.verbs.passes import list_passes

    return list_passes()
