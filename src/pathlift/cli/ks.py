"""``pathlift ks``: the verbs about Kronecker-sparse layers."""

from __future__ import annotations

from typing import Annotated

import typer

from pathlift.cli import parse, render_ks
from pathlift.cli.frame import verb
from pathlift.cli.options import AssumeEval, MemoryLimit, Model
from pathlift.verbs.result import Result

app = typer.Typer()


@app.callback()
def _ks() -> None:
    """Find Kronecker-sparse layers."""


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
