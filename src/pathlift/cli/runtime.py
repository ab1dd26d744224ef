"""The verbs that run models."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from pathlift.cli import parse, render_runtime
from pathlift.cli.frame import verb
from pathlift.cli.options import Force, MemoryLimit, Model
from pathlift.report.result import Result

app = typer.Typer()

Device = Annotated[str, typer.Option("--device", help="cpu, cuda, cuda:0, ...")]
Executor = Annotated[Literal["auto", "onnxruntime", "torch"], typer.Option("--executor", help="What runs the model.")]
Shape = Annotated[
    str | None,
    typer.Option("--shape", metavar="NAME=SIZE,...", help="Fill in symbolic dimensions.", show_default=False),
]


@app.command()
@verb(render_runtime.run)
def run(
    model: Model,
    inputs: Annotated[
        list[str] | None,
        typer.Option(
            "--input", metavar="[NAME=]FILE", help="NAME=x.npy, or an .npz file of several.", show_default=False
        ),
    ] = None,
    random: Annotated[bool, typer.Option("--random", help="Draw the inputs that are not given.")] = False,
    shape: Shape = None,
    seed: Annotated[int, typer.Option("--seed", help="Of what is drawn.")] = 0,
    device: Device = "cpu",
    threads: Annotated[int | None, typer.Option("--threads", help="Of one op.", show_default="all cores")] = None,
    executor: Executor = "auto",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write the outputs: .npz, or .npy of one.", show_default=False)
    ] = None,
    force: Force = False,
    memory_limit: MemoryLimit = "8GB",
) -> Result:
    """Run a model on arrays, and show or write what it returns."""
    from pathlift.verbs.run import run

    return run(
        model,
        parse.files(inputs or ()),
        random=random,
        shape=parse.extents(shape) if shape is not None else None,
        seed=seed,
        device=device,
        threads=threads,
        executor=executor,
        output=output,
        force=force,
        memory_limit=parse.size(memory_limit),
    )


@app.command()
@verb(render_runtime.bench)
def bench(
    model: Model,
    others: Annotated[
        list[Path] | None, typer.Argument(metavar="[OTHER]...", help="Models to compare it with.", show_default=False)
    ] = None,
    shape: Shape = None,
    threads: Annotated[str, typer.Option("--threads", metavar="N,...", help="Of one op; a race for each.")] = "1",
    runs: Annotated[int, typer.Option("--runs", help="Rounds at most.")] = 50,
    budget: Annotated[float, typer.Option("--budget", metavar="SECONDS", help="After which a race ends.")] = 10.0,
    seed: Annotated[int, typer.Option("--seed", help="Of the inputs.")] = 0,
    device: Device = "cpu",
    executor: Executor = "auto",
    memory_limit: MemoryLimit = "8GB",
) -> Result:
    """Time models side by side, on the same random inputs."""
    from pathlift.cli.progress import progress
    from pathlift.verbs.bench import bench

    with progress("timing") as tell:
        return bench(
            model,
            *(others or ()),
            shape=parse.extents(shape) if shape is not None else None,
            threads=parse.counts(threads),
            runs=runs,
            budget=budget,
            seed=seed,
            device=device,
            executor=executor,
            memory_limit=parse.size(memory_limit),
            progress=tell,
        )
