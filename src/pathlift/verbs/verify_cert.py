"""The verb `verify-cert`: a certificate's bound, proved again."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Annotated, Any

from pathlift.ir.errors import InvalidModelError, UsageError
from pathlift.ir.limits import MEMORY_LIMIT
from pathlift.models.options import AssumeEval, DeviceOption, Flag, MemoryLimit
from pathlift.report.result import Result, Source
from pathlift.report.tables import Payload, table

if TYPE_CHECKING:
    from rich.console import RenderableType

    from pathlift.models.source import Opened

MOST_BYTES = 2**30
"""Of a certificate."""


@dataclass(frozen=True, kw_only=True)
class VerifyResult(Result):
    """Whether a certificate holds.

    Parameters
    ----------
    other
        The second model.
    holds
        Whether the bound was proved again.
    reason
        Why not.
    stated, proved
        By norm, the bound that the certificate states, and the one that its steps prove.
    seconds
        What it took.
    """

    other: Source
    holds: bool
    reason: str
    stated: Mapping[str, float | None]
    proved: Mapping[str, float | None]
    seconds: float

    def to_json(self) -> dict[str, Any]:
        return {
            "other": {"path": self.other.path, "sha256": self.other.sha256},
            "verdict": "proved" if self.holds else "refuted",
            "reason": self.reason or None,
            "stated": dict(self.stated),
            "proved": dict(self.proved),
            "seconds": self.seconds,
        }


def verify_cert(
    certificate: Annotated[
        str | os.PathLike[str], Flag("certificate", argument=True, type=Path, help="A file that compare wrote.")
    ],
    *,
    first: Annotated[str | os.PathLike[str] | None, Flag(metavar="FILE", type=Path)] = None,
    second: Annotated[str | os.PathLike[str] | None, Flag(metavar="FILE", type=Path)] = None,
    device: DeviceOption = "cpu",
    memory_limit: MemoryLimit = MEMORY_LIMIT,
    assume_eval: AssumeEval = False,
) -> VerifyResult:
    """Prove the bound of a certificate again, from its multipliers and slopes; nothing is searched.

    Parameters
    ----------
    certificate
        What `compare` wrote with ``--certificate``.
    first, second
        Where the models are now. By default where the certificate says, from here or from its folder.
    device
        Compute on cpu, cuda, cuda:0, ...
    memory_limit
        Refuse larger tensors and models. In bytes.
    assume_eval
        Read training-mode layers as in evaluation.

    Returns
    -------
    VerifyResult
        With exit code 0 if the bound holds, 1 if it does not.

    Raises
    ------
    InvalidModelError
        If the file is no certificate.
    UsageError
        If a model is not found.
    """
    from pathlift.models.source import open_model

    began = monotonic()
    content = _read(certificate)
    opened: list[Opened] = []
    for given, said in ((first, content["first"]), (second, content["second"])):
        path = _found(given, said, Path(certificate).parent)
        shape = tuple((str(n), int(v)) for n, v in content["shape"].items())
        opened.append(open_model(path, memory_limit=memory_limit, assume_eval=assume_eval, shape=shape))
    stated = {norm: content["bound"][norm] for norm in ("l1", "linf")}
    for side, model in zip(("first", "second"), opened, strict=True):
        if model.source.sha256 != content[side]["sha256"]:
            sha = content[side]["sha256"]
            return _answer(
                opened, stated, {}, began, f"{model.source.path!r} is not the {side} file: its SHA-256 is not {sha}"
            )
    proved, reason = _proved(opened, content, stated, str(device))
    return _answer(opened, stated, proved, began, reason)


def _answer(
    opened: list[Opened],
    stated: Mapping[str, float | None],
    proved: Mapping[str, float | None],
    began: float,
    reason: str,
) -> VerifyResult:
    ours, theirs = opened
    return VerifyResult(
        input=ours.source,
        other=theirs.source,
        warnings=(*ours.warnings, *theirs.warnings),
        holds=not reason,
        reason=reason,
        stated=stated,
        proved=proved,
        seconds=monotonic() - began,
        exit_code=1 if reason else 0,
    )


def _proved(
    opened: list[Opened], content: Mapping[str, Any], stated: Mapping[str, float | None], device: str
) -> tuple[dict[str, float | None], str]:
    """Replay all steps; the bounds, and what is wrong, if anything."""
    import torch

    from pathlift.models.certify import TOLERATED
    from pathlift.models.distance import Comparison
    from pathlift.passes.attacks.domain import Domain
    from pathlift.passes.certificates.encoding import decode, digest
    from pathlift.passes.sizes import resolve_inputs
    from pathlift.report.distance import finite

    shapes = resolve_inputs(opened[0].graph, dict(opened[0].shape))
    comparison = Comparison.of(opened[0].graph, opened[1].graph, torch.device(device))
    outcomes = []
    for box, steps, said in zip(content["boxes"], content["steps"], content["digest"], strict=True):
        decoded = decode(steps)
        if digest(decoded) != said:
            return {}, "its multipliers or slopes are not those that were written"
        sides = [
            {n: torch.tensor(box[n][side], dtype=torch.float64).expand(shapes[n]).contiguous() for n in shapes}
            for side in ("low", "high")
        ]
        outcomes.append(comparison.again(Domain(*sides), decoded))
    found = {norm: max(getattr(o, norm) for o in outcomes) for norm in ("l1", "linf")}
    again = {norm: finite(value) for norm, value in found.items()}
    elements = torch.stack([o.per_output for o in outcomes]).amax(0).tolist()
    said_elements = content["bound"]["per_output"]
    if len(said_elements) != len(elements):
        return again, "it states bounds of another number of outputs"
    pairs = [(stated[norm], found[norm], f"the {norm} bound") for norm in found]
    both = enumerate(zip(said_elements, elements, strict=True))
    pairs += [(x, y, f"the bound of output element {i}") for i, (x, y) in both]
    for said, value, what in pairs:
        if finite(value) is None and said is None:
            continue
        if said is None or finite(value) is None or abs(value - said) > TOLERATED * abs(value):
            return again, f"{what} is stated as {said}, its steps prove {finite(value)}"
    return again, ""


def _read(path: str | os.PathLike[str]) -> dict[str, Any]:
    try:
        if Path(path).stat().st_size > MOST_BYTES:
            raise InvalidModelError("0190", f"{os.fspath(path)!r} is too large for a certificate")
        content = json.loads(Path(path).read_text())
    except FileNotFoundError as error:
        raise UsageError("0470", f"there is no file {os.fspath(path)!r}") from error
    except (OSError, ValueError, RecursionError) as error:
        raise InvalidModelError("0190", f"{os.fspath(path)!r} is no certificate: {error}") from error
    wanted = {"pathlift_certificate", "first", "second", "boxes", "shape", "bound", "steps", "digest"}
    if not isinstance(content, dict) or not wanted <= content.keys() or content["pathlift_certificate"] != 1:
        raise InvalidModelError("0190", f"{os.fspath(path)!r} is no certificate of this version")
    return content


def _found(given: Any, said: Mapping[str, Any], folder: Path) -> Path:
    if given is not None:
        return Path(given)
    path = Path(str(said["path"]))
    candidates = [path, folder / path, folder / path.name]
    found = next((c for c in candidates if c.exists()), None)
    if found is None:
        raise UsageError("0470", f"there is no file {str(path)!r}", hint="--first FILE, --second FILE")
    return found


def text(payload: Payload) -> Iterator[RenderableType]:
    """Yield the answer and the figures."""
    holds = payload["verdict"] == "proved"
    yield f"the certificate holds ({payload['seconds']:.1f} s)" if holds else f"it does not hold: {payload['reason']}"
    rows = [
        [name, str(payload["stated"][norm]), str(payload["proved"].get(norm, "-"))]
        for norm, name in (("l1", "‖difference‖₁"), ("linf", "‖difference‖∞"))
    ]  # fmt: skip
    yield table(["", "stated", "proved again"], rows, right=["stated", "proved again"])
