"""The verb `audit privacy`: what files tell of their training data, by membership inference, and which tells more."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pathlift.ir.errors import UsageError
from pathlift.ir.limits import MEMORY_LIMIT
from pathlift.models import parse
from pathlift.models.options import AssumeEval, ExecutorOption, Flag, Force, MemoryLimit, Model, Progress, Seed, Shape
from pathlift.report.privacy import PrivacyResult
from pathlift.report.privacy import text as privacy_text
from pathlift.report.tables import Payload

if TYPE_CHECKING:
    from rich.console import RenderableType

    from pathlift.ir.types import Array
    from pathlift.models.privacy.audit import Found, Named
    from pathlift.models.privacy.data import SampleSet

Data = Annotated["str | os.PathLike[str] | Mapping[str, Array]", Flag(metavar="FILE.npz", type=Path)]
Population = Annotated["str | os.PathLike[str] | Mapping[str, Array] | None", Flag(metavar="FILE.npz", type=Path)]
Several = Annotated["Sequence[Model]", Flag(metavar="FILE", type=list[Path], read=parse.models)]


def audit_privacy(
    *models: Annotated[Model, Flag(argument=True, metavar="[MODEL]...", type=list[Path], read=parse.models)],
    members: Data,
    nonmembers: Data,
    labels: Annotated[str, Flag(metavar="NAME")] = "y",
    reference: Annotated[Any, Flag(metavar="GLOB", type=list[str])] = (),
    population: Population = None,
    before: Several = (),
    after: Several = (),
    max_auc: Annotated[float | None, Flag(metavar="AUC")] = None,
    accuracy_margin: Annotated[float, Flag(metavar="SHARE")] = 0.02,
    auc_margin: Annotated[float, Flag(metavar="AUC")] = 0.02,
    bootstrap: Annotated[int, Flag(metavar="N")] = 1000,
    time: Annotated[float, Flag(metavar="SECONDS")] = 0.0,
    output: Annotated[str, Flag(metavar="NAME")] = "",
    scores: Annotated[str | os.PathLike[str] | None, Flag(metavar="FILE.npz", type=Path)] = None,
    chart: Annotated[str | os.PathLike[str] | None, Flag(metavar="FILE", type=Path)] = None,
    seed: Seed = 0,
    shape: Shape = None,
    executor: ExecutorOption = "auto",
    force: Force = False,
    memory_limit: MemoryLimit = MEMORY_LIMIT,
    assume_eval: AssumeEval = False,
    progress: Annotated[Callable[[str, int, int], object] | None, Progress("running")] = None,
) -> PrivacyResult:
    """Find out by membership inference which of two files tells more about its training data.

    Parameters
    ----------
    models
        One file, or two to compare: before and after. Of more, each is compared with the first.
    members
        Samples that the files were trained on: inputs by name, and labels. An ``.npz`` file or arrays.
    nonmembers
        Samples that they were not trained on, from the same distribution.
    labels
        The array of labels, class numbers from 0.
    reference
        Models of the same task that were trained on neither set. Globs, repeated or one; in Python also models.
    population
        More samples that no model was trained on, for references.
    before
        A file of several that count as one, with --after. Repeated; means are compared.
    after
        A file of several that count as one, with --before.
    max_auc
        Fail if the AUC is surely above: the lower end of its interval. Of the first of several files it is not asked.
    accuracy_margin
        How much less accurate a file may be that is said to tell less. A share of 1.
    auc_margin
        What an AUC must differ by to count. Files that differ in the seed of training alone differ by up to .02.
    bootstrap
        Draws for intervals.
    time
        Time a batch of members in all files, side by side. In seconds for all; at least five rounds.
    output
        The output of class scores, if there are several.
    scores
        Write what attacks give each sample, and which samples these are. An .npz file.
    chart
        Draw operating characteristics, scores, accuracies and costs: .svg, .png or .pdf. Needs ``pathlift[plot]``.
    seed
        Of all that is random.
    shape
        Fill in symbolic dimensions. Extents by name; the batch needs none.
    executor
        What runs the files.
    force
        Replace output files that exist.
    memory_limit
        Refuse larger tensors and models. In bytes.
    assume_eval
        Read training-mode layers as in evaluation.
    progress
        Called with a file, its number, and how many there are.

    Raises
    ------
    PathliftError
        If files or data cannot be read, have other inputs or no scores of classes; if sets share a sample, or a
        reference tells members from non-members.

    References
    ----------
    Zarifzadeh, Liu, Shokri, "Low-Cost High-Power Membership Inference Attacks", arXiv 2312.03262. Gonon, Zheng,
    Lalanne, Le, Lauga, Pouliquen, "Sparsity in neural networks can improve their privacy", arXiv 2304.10553, and "Can
    sparsity improve the privacy of neural networks?", arXiv 2304.07234.
    """
    from pathlift.frontend.files import replacing
    from pathlift.models.file_costs import check_seconds
    from pathlift.models.pruning import check_apart

    check_seconds(time)
    parse.seed(seed)
    _check_options(max_auc, accuracy_margin, auc_margin, bootstrap)
    if (models and (before or after)) or bool(before) != bool(after) or not (models or before):
        count = f"{len(models)} models, {len(before)} before and {len(after)} after"
        raise UsageError("1568", f"there are {count}", hint="one model, two, or files with --before and --after")
    given = [*models, *before, *after]
    listed = _listed(reference)
    if bool(listed) != (population is not None):
        lacking = "no population" if listed else "a population, and no references"
        raise UsageError("1569", f"there is {lacking}", hint="--reference 'r*.onnx' --population z.npz")
    if chart is not None:
        from pathlift.report.row_chart import check_chart

        check_chart(str(chart))
    check_apart([scores, chart], [*given, *listed, members, nonmembers, population])

    from pathlift.models.privacy.audit import Request, audit
    from pathlift.models.privacy.verdict import Margins

    with ExitStack() as stack:
        staged = {
            name: stack.enter_context(replacing(path, force=force))
            for name, path in (("scores", scores), ("chart", chart))
            if path is not None
        }
        options = {"memory_limit": memory_limit, "assume_eval": assume_eval}
        _check_references(listed, given)
        opened = _opened([*given, *listed], len(given), shape, options)
        sets = _sets(opened[0], members, nonmembers, population, labels)
        request = Request(Margins(auc_margin, accuracy_margin), bootstrap, seed, output, executor, time)
        found = audit(opened[: len(given)], opened[len(given) :], sets, request, progress)
        result = _result(found, opened, sets, len(before), max_auc)
        if "scores" in staged:
            _write_scores(staged["scores"], result, sets)
        if "chart" in staged:
            from pathlift.report.page import save_chart

            page = result.chart()
            assert page is not None
            save_chart(page, staged["chart"])
    written = [None if path is None else os.fspath(path) for path in (scores, chart)]
    return replace(result, scores_file=written[0], chart_file=written[1])


def _check_options(max_auc: float | None, accuracy_margin: float, auc_margin: float, bootstrap: int) -> None:
    for name, value in (("max-auc", max_auc), ("accuracy-margin", accuracy_margin), ("auc-margin", auc_margin)):
        least_open = name == "accuracy-margin"
        if value is not None and not (0 <= value < 1 and (value or not least_open)):
            raise UsageError("1570", f"--{name} is {value}", hint="a share of 1")
    if not 100 <= bootstrap <= 1_000_000:
        raise UsageError("1571", f"--bootstrap is {bootstrap}", hint="1000 draws; at least 100")


def _listed(reference: Any) -> list[Any]:
    """Return references: files that globs name, and models as they are."""
    from glob import glob, has_magic

    items = reference if isinstance(reference, list | tuple) else [reference]
    found: list[Any] = []
    for item in items:
        if isinstance(item, str | os.PathLike) and has_magic(os.fspath(item)):
            files = sorted(glob(os.fspath(item)))
            if not files:
                raise UsageError("1572", f"no file is named {os.fspath(item)!r}", hint="quote the glob")
            found += files
        else:
            found.append(item)
    return found


def _check_references(listed: Sequence[Any], given: Sequence[Any]) -> None:
    """Check that no reference is audited: that one was trained on the members; and none is there twice."""
    audited, seen = {_identity(model) for model in given}, set[Any]()
    for reference in listed:
        own = _identity(reference)
        name = os.fspath(reference) if isinstance(reference, str | os.PathLike) else "a reference"
        if own in audited:
            raise UsageError("1574", f"{name} is one of the files that are audited", hint="references are other models")
        if own in seen:
            raise UsageError("1575", f"{name} is given twice as a reference", hint="each model once")
        seen.add(own)


def _identity(model: Any) -> Any:
    """What two names of one file, or two copies of bytes, have in common."""
    if isinstance(model, str | os.PathLike):
        return os.path.realpath(model)
    return model if isinstance(model, bytes) else id(model)


def _opened(models: Sequence[Any], files: int, shape: Any, options: dict[str, Any]) -> list[Named]:
    """Open files and references, whose inputs must be those of the first."""
    from pathlift.models.privacy.audit import Named
    from pathlift.models.source import extents, open_model

    found: list[Named] = []
    for i, model in enumerate(models):
        opened = open_model(model, shape=extents(shape), **options)
        path = opened.source.path or (f"model {i}" if i < files else f"reference {i - files}")
        found.append(Named(path, opened))
        inputs = [{name: graph.types[0] for name, graph in _inputs(file)} for file in (found[0], found[i])]
        if {n: _kind(t) for n, t in inputs[0].items()} != {n: _kind(t) for n, t in inputs[1].items()}:
            shown = [", ".join(f"{name}: {type_}" for name, type_ in each.items()) for each in inputs]
            raise UsageError(
                "1565", f"{path} reads {shown[1]}, and {found[0].path} {shown[0]}", hint="files of one task"
            )
    return found


def _inputs(file: Named) -> Iterator[tuple[str, Any]]:
    graph = file.opened.graph
    yield from ((graph[key].names[0], graph[key]) for key in graph.inputs)


def _kind(type_: Any) -> tuple[str, tuple[int | None, ...] | None]:
    """What must be the same of two inputs: element type, and extents of a sample that are known."""
    shape = getattr(type_, "shape", None)
    known = None if shape is None else tuple(n if isinstance(n, int) else None for n in shape[1:])
    return str(getattr(type_, "dtype", None)), known


def _sets(file: Named, members: Any, nonmembers: Any, population: Any, labels: str) -> dict[str, SampleSet]:
    from pathlift.models.privacy.audit import MEMBERS, OTHERS, POPULATION
    from pathlift.models.privacy.data import SampleSet, check_disjoint

    given = {MEMBERS: members, OTHERS: nonmembers, POPULATION: population}
    graph = file.opened.graph
    found = {name: SampleSet.read(graph, data, labels, name) for name, data in given.items() if data is not None}
    check_disjoint(list(found.values()))
    return found


def _result(
    found: Found, opened: Sequence[Named], sets: Mapping[str, SampleSet], before: int, max_auc: float | None
) -> PrivacyResult:
    """Compare what is to be compared, and say what the figures rest on."""
    count = len(found.files)
    comparisons, groups = [], None
    if before:
        first, second = list(range(before)), list(range(before, count))
        comparisons = [found.compare(first, second, "after")]
        groups = {"before": found.group(first), "after": found.group(second)}
    else:
        comparisons = [found.compare([0], [i], found.files[i].path) for i in range(1, count)]
    verdict: Any = None
    reason: str | None = None
    gated = range(before or min(1, count - 1), count)
    if len(comparisons) == 1:
        verdict, reason = comparisons[0].verdict, comparisons[0].reason
    elif not comparisons and (said := found.few or (found.reversed(0) if max_auc is not None else "")):
        verdict, reason = "inconclusive", said
    verdicts = {c.verdict for c in comparisons} | {verdict}
    over = [] if max_auc is None else [i for i in gated if found.attack(i).interval[0] > max_auc]
    if "more" in verdicts or (over and not found.few):
        code = 1
    else:
        code = 5 if verdicts & {"not_comparable", "inconclusive"} else 0
    warnings = [w for file in opened for w in file.opened.warnings]
    warnings += [
        f"the AUC of {found.files[i].path} is above {max_auc:g}: {found.attack(i).interval[0]:.3f}" for i in over
    ]
    warnings += [f"{s.copies} copies among the {s.name} are left out" for s in sets.values() if s.copies]
    warnings += [
        f"{found.files[i].path}: {said}" for i in range(count) if (said := found.reversed(i)) and said != reason
    ]
    alike = "members and non-members are drawn alike" + ("" if found.references else ", which no reference tests")
    return PrivacyResult(
        input=opened[0].opened.source,
        assumptions=(alike, "samples are independent of each other", *found.remarks),
        warnings=tuple(dict.fromkeys(warnings)),
        exit_code=code,
        files=found.files,
        attack="rmia" if found.references else "loss",
        comparisons=comparisons,
        groups=groups,
        verdict=verdict,
        reason=reason,
        references=found.references,
        samples={name: own.count for name, own in sets.items()},
    )


def _write_scores(path: Path, result: PrivacyResult, sets: Mapping[str, SampleSet]) -> None:
    """Write scores by file and attack, and where their samples were in the data."""
    import numpy as np

    arrays = {f"{name}/kept": own.kept for name, own in sets.items()}
    for i, file in enumerate(result.files):
        for name, attack in file.attacks.items():
            if attack is not None:
                arrays |= {f"{i}/{name}/members": attack.members, f"{i}/{name}/non-members": attack.others}
    with path.open("wb") as stream:
        np.savez(stream, **arrays)  # type: ignore[arg-type]  # NumPy's types


def text(payload: Payload) -> Iterator[RenderableType]:
    """Yield what attacks find, and the verdict."""
    yield from privacy_text(payload)
