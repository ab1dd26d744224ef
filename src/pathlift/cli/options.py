"""Arguments and options that several verbs have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Model = Annotated[Path, typer.Argument(metavar="MODEL", help="An ONNX file.", show_default=False)]
Output = Annotated[Path | None, typer.Option("--output", "-o", help="The ONNX file to write.", show_default=False)]
Force = Annotated[bool, typer.Option("--force", help="Replace output files that exist.")]
MemoryLimit = Annotated[str, typer.Option("--memory-limit", metavar="SIZE", help="Refuse larger tensors and models.")]
AssumeEval = Annotated[bool, typer.Option("--assume-eval", help="Read training-mode layers as in evaluation.")]
