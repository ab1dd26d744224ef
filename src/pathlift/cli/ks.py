"""``pathlift ks``: the verbs about Kronecker-sparse layers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pathlift.cli import parse, render_ks
from pathlift.cli.frame import verb
from pathlift.cli.options import AssumeEval, Force, MemoryLimit, Model, Output
from pathlift.report.result import Result

app = typer.Typer()


@app.callback()
def _ks() -> None:
    """Find Kronecker-sparse layers, and make them."""


@app.command()
@verb(render_ks.detect)
def detect(
    model: Model,
    permutation: Annotated[
        bool, typer.Option("--permutation", help="Also find blocks in another order of inputs and outputs.")
    ] = False,
    samples: Annotated[
        int, typer.Option("--samples", metavar="N", help="Rows, batch times positions, that times are predicted for.")
    ] = 1024,
    device: Annotated[
        str, typer.Option("--device", metavar="DEVICE", help="What they are predicted for: cpu, h100 or a100.")
    ] = "cpu",
    memory_limit: MemoryLimit = "8GB",
    assume_eval: AssumeEval = False,
) -> Result:
    """Find layers that are Kronecker-sparse already: zeros in weights, grouped convolutions, batched products."""
    from pathlift.verbs.ks_detect import ks_detect

    return ks_detect(
        model,
        permutation=permutation,
        samples=samples,
        device=device,
        memory_limit=parse.size(memory_limit),
        assume_eval=assume_eval,
    )


@app.command()
@verb(render_ks.fit)
def fit(
    model: Model,
    layers: Annotated[str, typer.Option("--layers", metavar="GLOB,...", help="Nodes, or their weights.")] = "*",
    patterns: Annotated[
        str, typer.Option("--patterns", metavar="PATTERNS", help="auto, or (a,b,c,d)(a,b,c,d)... of the factors.")
    ] = "auto",
    budget: Annotated[
        str,
        typer.Option(
            "--budget",
            metavar="LIMIT=R,...",
            help="flops=R of the dense layer's operations, error=R of its outputs or weights, or both.",
            show_default="flops=0.5,error=0.2 for auto",
        ),
    ] = "",
    solver: Annotated[str, typer.Option("--solver", help="hsvd, als, adam, muon, or auto.")] = "auto",
    calib: Annotated[
        Path | None,
        typer.Option(
            "--calib",
            metavar="FILE.npz",
            help="Data, by input name, to fit the layers' outputs on.",
            show_default=False,
        ),
    ] = None,
    steps: Annotated[int, typer.Option("--steps", help="Of an iterative solver.", show_default="the solver's")] = 0,
    seed: Annotated[int, typer.Option("--seed", help="Of all that is random.")] = 0,
    samples: Annotated[
        int, typer.Option("--samples", metavar="N", help="Rows, batch times positions, that times are predicted for.")
    ] = 1568,
    device: Annotated[
        str, typer.Option("--device", metavar="DEVICE", help="What they are predicted for: cpu, h100 or a100.")
    ] = "cpu",
    feature_major: Annotated[
        bool, typer.Option("--feature-major", help="Keep consecutive layers feature-major.")
    ] = False,
    output: Output = None,
    force: Force = False,
    memory_limit: MemoryLimit = "8GB",
    assume_eval: AssumeEval = False,
) -> Result:
    """Approximate dense layers by products of Kronecker-sparse factors, and rewrite the model."""
    from pathlift.cli.progress import progress
    from pathlift.verbs.ks_fit import ks_fit

    with progress("fitting") as tell:
        return ks_fit(
            model,
            layers=layers,
            patterns=patterns,
            budget=budget,
            solver=solver,
            calib=calib,
            steps=steps,
            seed=seed,
            samples=samples,
            device=device,
            feature_major=feature_major,
            output=output,
            force=force,
            memory_limit=parse.size(memory_limit),
            assume_eval=assume_eval,
            progress=tell,
        )
