"""The verb `verify-cert`: a certificate's bound, proved again."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Annotated, Any

from pathlift.ir.errors import UsageError, about
from pathlift.ir.limits import MEMORY_LIMIT
from pathlift.models import parse
from pathlift.models.options import AssumeEval, DeviceOption, Flag, MemoryLimit
from pathlift.report.result import Result, Source
from pathlift.report.tables import Payload, table

if TYPE_CHECKING:
    from rich.console import RenderableType

    from pathlift.models.certificates.certificate import Certificate
    from pathlift.models.source import Opened


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
    domain
        Of which inputs that is.
    stated, proved
        By norm, the bound that the certificate states, and the one that its steps prove.
    seconds
        What it took.
    """

    other: Source
    holds: bool
    reason: str
    domain: Mapping[str, Any] | None
    stated: Mapping[str, float | None]
    proved: Mapping[str, float | None]
    seconds: float

    def to_json(self) -> dict[str, Any]:
        return {
            "other": {"path": self.other.path, "sha256": self.other.sha256},
            "verdict": "proved" if self.holds else "refuted",
            "reason": self.reason or None,
            "domain": self.domain,
            "stated": dict(self.stated),
            "proved": dict(self.proved),
            "seconds": self.seconds,
        }

    def headline(self) -> str:
        return "the certificate holds" if self.holds else "the certificate does not hold"

    def records(self) -> list[dict[str, Any]]:
        return [{"norm": x, "stated": self.stated.get(x), "proved": self.proved.get(x)} for x in ("l1", "linf")]


def verify_cert(
    certificate: Annotated[
        str | os.PathLike[str], Flag("certificate", argument=True, type=Path, help="A file that compare wrote.")
    ],
    *,
    first: Annotated[str | os.PathLike[str] | None, Flag(metavar="FILE", type=Path, read=parse.model)] = None,
    second: Annotated[str | os.PathLike[str] | None, Flag(metavar="FILE", type=Path, read=parse.model)] = None,
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
    from pathlift.models.certificates.certificate import Certificate
    from pathlift.models.source import open_model

    began = monotonic()
    with about(certificate):
        said = Certificate.read(certificate)
    opened: list[Opened] = []
    for given, model in ((first, said.first), (second, said.second)):
        path = _found(given, model, Path(certificate).parent)
        opened.append(open_model(path, memory_limit=memory_limit, assume_eval=assume_eval, shape=said.shape))
    proof = _proof(opened, said, str(device))
    ours, theirs = opened
    return VerifyResult(
        input=ours.source,
        other=theirs.source,
        assumptions=proof.assumptions,
        warnings=(*ours.warnings, *theirs.warnings),
        holds=not proof.reason,
        reason=proof.reason,
        domain=proof.domain,
        stated=said.bound,
        proved=proof.proved,
        seconds=monotonic() - began,
        exit_code=1 if proof.reason else 0,
    )


@dataclass(frozen=True)
class _Proof:
    """What is wrong, if anything; what was proved, of which inputs, and on which assumptions."""

    reason: str
    domain: Mapping[str, Any] | None = None
    proved: Mapping[str, float | None] = field(default_factory=dict)
    assumptions: tuple[str, ...] = ()


def _proof(opened: Sequence[Opened], said: Certificate, device: str) -> _Proof:
    """Replay all steps, and compare what they prove with what is said."""
    import torch

    from pathlift.models.certificates.certify import OUTWARD, WORKS
    from pathlift.models.certificates.distance import Comparison
    from pathlift.passes.sizes import resolve_inputs
    from pathlift.report.distance import finite

    for side, model, wanted in zip(("first", "second"), opened, (said.first, said.second), strict=True):
        if model.source.sha256 != wanted["sha256"]:
            return _Proof(f"{model.source.path!r} is not the {side} file: its SHA-256 is not {wanted['sha256']}")
    if not said.intact:
        return _Proof("it was edited: its digest is another one")
    domains = said.domains(resolve_inputs(opened[0].graph, dict(opened[0].shape)))
    domain = domains.to_json()
    if domain != said.domain:
        return _Proof("its domain is not what its boxes amount to")
    comparison = Comparison.of(opened[0].graph, opened[1].graph, torch.device(device))
    outcomes = [comparison.again(box, steps) for box, steps in zip(domains, said.steps, strict=True)]
    if not all(o.bounds for o in outcomes):
        return _Proof("its steps prove nothing")
    found = {norm: max(getattr(o, norm) for o in outcomes) for norm in ("l1", "linf")}
    again = {norm: finite(value) for norm, value in found.items()}
    elements = torch.stack([o.per_output for o in outcomes]).amax(0).tolist()
    reason = ""
    if len(said.per_output) != len(elements):
        reason = "it states bounds of another number of outputs"
    both = [(f"the {norm} bound", said.bound[norm], value) for norm, value in found.items()]
    both += [
        (f"the bound of output element {i}", *x) for i, x in enumerate(zip(said.per_output, elements, strict=False))
    ]
    for what, claimed, value in both:
        if claimed is not None and not value <= claimed:
            reason = reason or f"{what} is stated as {claimed}, its steps prove {finite(value)}"
    return _Proof(reason, domain, again, (*comparison.remarks, WORKS, OUTWARD))


def _found(given: Any, said: Mapping[str, str], folder: Path) -> Any:
    if given is not None:
        return given
    path = Path(said["path"])
    candidates = [path, folder / path, folder / path.name]
    found = next((c for c in candidates if c.exists()), None)
    if found is None:
        raise UsageError("0470", f"there is no file {str(path)!r}", hint="--first FILE, --second FILE")
    return found


def text(payload: Payload) -> Iterator[RenderableType]:
    """Yield the answer and the figures."""
    holds = payload["verdict"] == "proved"
    yield f"the certificate holds{_where(payload)}" if holds else f"it does not hold: {payload['reason']}"
    rows = [
        [name, *("-" if (x := payload[side].get(norm)) is None else str(x) for side in ("stated", "proved"))]
        for norm, name in (("l1", "‖difference‖₁"), ("linf", "‖difference‖∞"))
    ]  # fmt: skip
    yield table(["", "stated", "proved again"], rows, right=["stated", "proved again"])


def _where(payload: Payload) -> str:
    from pathlift.report.distance import place

    return f" for all inputs {place(payload['domain'])} ({payload['seconds']:.1f} s)"
