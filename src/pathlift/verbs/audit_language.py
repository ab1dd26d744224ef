"""The verb `audit language`: what compression cost a token model, off the language and inside it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pathlift.ir.errors import UsageError
from pathlift.ir.limits import MEMORY_LIMIT
from pathlift.ir.stages import stage
from pathlift.models import parse
from pathlift.models.options import Flag, Force, MemoryLimit, Model, Progress, Seed
from pathlift.report.language import AuditLanguageResult
from pathlift.report.language import text as language_text
from pathlift.report.tables import Payload

if TYPE_CHECKING:
    from rich.console import RenderableType

    from pathlift.models.language.audit import Audit


def audit_language(
    model: Model,
    *others: Annotated[Any, Flag(argument=True, metavar="[MODEL]...", type=list[Path], help="More, held against it.")],
    regex: Annotated[str, Flag(metavar="R|@FILE", required=True)] = "",
    vocab: Annotated[Any, Flag(metavar="FILE.json", type=Path, required=True)] = None,
    data: Annotated[Any, Flag(metavar="FILE.npz", type=Path)] = None,
    samples: Annotated[int, Flag(metavar="N")] = 0,
    kind: Annotated[Literal["next", "masked"], Flag()] = "next",
    mask_token: Annotated[int | None, Flag(metavar="ID")] = None,
    weights: Annotated[Any, Flag(metavar="FILE.json", type=Path)] = None,
    fit_weights: Annotated[bool, Flag()] = False,
    bos: Annotated[int | None, Flag(metavar="ID")] = None,
    eos: Annotated[int | None, Flag(metavar="ID")] = None,
    max_length: Annotated[int | None, Flag(metavar="L")] = None,
    generate: Annotated[int, Flag(metavar="N")] = 500,
    time: Annotated[float, Flag(metavar="SECONDS")] = 0.0,
    max_support: Annotated[float | None, Flag(metavar="NATS")] = None,
    max_frequency: Annotated[float | None, Flag(metavar="NATS")] = None,
    skip_invalid: Annotated[bool, Flag()] = False,
    output: Annotated[str, Flag("--output", metavar="NAME")] = "",
    chart: Annotated[str | os.PathLike[str] | None, Flag(metavar="FILE.svg", type=Path)] = None,
    seed: Seed = 0,
    force: Force = False,
    memory_limit: MemoryLimit = MEMORY_LIMIT,
    progress: Annotated[Callable[[str, int, int], object] | None, Progress("scoring")] = None,
) -> AuditLanguageResult:
    """Split what compression costs a token model: probability that left a regular language, and distortion inside it.

    Parameters
    ----------
    model
        A path, bytes, a ModelProto or a `Graph`: it reads token ids [N, T] and returns logits [N, T, V].
    others
        More models of the same tokens. Changes are from the first.
    regex
        What strings match as a whole, in Python's syntax. A name after @ is a file that holds it.
    vocab
        Strings by token id, as a list, or a tokenizer.json.
    data
        Strings of the language, as arrays of token ids: tokens [N, T], or the model's inputs by name.
    samples
        Draw so many strings, instead of data. From the weights, or evenly where there is a largest length.
    kind
        Whether models are asked for the next token, or for tokens that are masked.
    mask_token
        The token that masks others.
    weights
        The distribution on the language, as rows of a state, a token and a weight.
    fit_weights
        Count weights on one half of the data, and score the other half.
    bos
        The token that strings begin with.
    eos
        The token that strings end with. Without it, each fills its row.
    max_length
        The most tokens that a string may have, without those that begin and end it.
    generate
        Samples for the probability that what a model says is a string of the language. 0 for none.
    time
        Time a batch of strings in all files, side by side. In seconds for all; at least five rounds.
    max_support
        Exit with 1 if more nats a token are lost off the language. Of the change, where there are several models.
    max_frequency
        Exit with 1 if more nats a token are lost inside the language. Of the change, where there are several models.
    skip_invalid
        Leave out strings that are not in the language.
    output
        The output that has the logits.
    chart
        Draw into this file: .svg, .png or .pdf.
    seed
        Of all that is random.
    force
        Replace output files that exist.
    memory_limit
        Refuse larger tensors and models. In bytes.
    progress
        Called with a file's name, how many strings were scored, and how many there are.

    Returns
    -------
    AuditLanguageResult
        Its exit code is 1 beyond a limit, and 5 where an interval covers one or fewer than 100 positions have a choice.

    Raises
    ------
    UsageError
        If the regular expression is not well-formed or matches nothing, the vocabulary is of another size, data is
        outside the language, or options do not go together.
    InvalidModelError
        If a logit is not a number.
    UnsupportedError
        If a model is no token model or has a cache, or no automaton reads the regular expression.

    Notes
    -----
    With S the tokens that can still lead to a string of the language, KL(p‖q) = −log q(S) + KL(p ‖ q(·|S)), and
    −log q(x) = −log q(S) − log q(x|S), exactly. Support and frequency as what models lose of formal languages: Müller,
    Gonon, Shen et al., arXiv 2605.13999.
    """
    limits = {"support": max_support, "frequency": max_frequency}
    from pathlift.models.file_costs import check_seconds

    parse.seed(seed)
    check_seconds(time)
    _check(limits, data, samples, kind, mask_token, weights, fit_weights, eos, max_length, generate, bool(others))
    if chart is not None:
        from pathlift.frontend.files import check_replaceable
        from pathlift.report.row_chart import check_chart

        check_chart(os.fspath(chart))
        check_replaceable(chart, force=force)
    from pathlift.models.language.audit import Request, audit
    from pathlift.models.language.figures import LEAST_CHOICES, exit_code, figures, heat

    request = Request(
        regex=_pattern(regex),
        vocab=vocab,
        data=data,
        samples=samples,
        kind=kind,
        mask_token=mask_token,
        weights=weights,
        fit_weights=fit_weights,
        bos=bos,
        eos=eos,
        max_length=max_length,
        generate=generate,
        skip_invalid=skip_invalid,
        output=output,
        seed=seed,
        memory_limit=memory_limit,
        seconds=time,
    )
    found = audit([model, *(parse.model(m) if isinstance(m, Path) else m for m in others)], request, progress)
    given = {key: limit for key, limit in limits.items() if limit is not None}
    with stage("drawing strings again"):
        said = figures(found, given, seed)
    result = AuditLanguageResult(
        input=found.files[0].source,
        assumptions=_assumptions(found, request.kind),
        warnings=(
            *dict.fromkeys(w for file in found.files for w in file.warnings),
            *_few(said["choices"], LEAST_CHOICES),
            *_at_an_end(said["files"]),
        ),
        exit_code=exit_code(said, given),
        figures=said,
        heat=heat(found),
    )
    if chart is not None:
        from pathlift.frontend.files import replacing
        from pathlift.report.page import save_chart

        with replacing(chart, force=force) as staged:
            save_chart(result.plot(), staged)
    return result


def _check(
    limits: dict[str, float | None], data: Any, samples: int, kind: str, mask_token: int | None, weights: Any,
    fit_weights: bool, eos: int | None, max_length: int | None, generate: int, several: bool,
) -> None:  # fmt: skip
    """Check that options go together."""
    wrong = ""
    if (data is None) == (samples == 0):
        wrong = "either data is given, or a number of samples to draw"
    elif samples < 0 or generate < 0 or (max_length is not None and max_length < 1):
        wrong = "--samples, --generate and --max-length are counts"
    elif generate == 1:
        wrong = "--generate 1 has no standard error: at least 2, or 0 for none"
    elif kind not in ("next", "masked"):
        wrong = f"--kind is {kind!r}: next or masked"
    elif (kind == "masked") != (mask_token is not None):
        wrong = "--kind masked and --mask-token go together"
    elif weights is not None and fit_weights:
        wrong = "weights are given, or fitted"
    elif samples and weights is None and max_length is None:
        wrong = "samples are drawn from --weights, or evenly up to --max-length"
    elif samples and eos is None and max_length is None:
        wrong = "strings without --eos that are drawn have --max-length tokens"
    elif limits["frequency"] is not None and not several and weights is None and not fit_weights:
        wrong = "--max-frequency of a single model is a distance from --weights or --fit-weights"
    elif any(limit is not None and not limit >= 0 for limit in limits.values()):
        wrong = "limits are nats a token, at least 0"
    if wrong:
        raise UsageError("1589", f"options do not go together: {wrong}", hint="pathlift audit language --help")


def _pattern(regex: str) -> str:
    """The regular expression, out of a file if its name is given; a newline at the file's end is not of it."""
    if not regex.startswith("@"):
        return regex
    try:
        return Path(regex[1:]).read_text(encoding="utf-8").removesuffix("\n")
    except (OSError, ValueError) as error:
        hint = "write [@] for a sign that a string begins with"
        raise UsageError(
            "1591", f"the regular expression cannot be read from {regex[1:]!r}: {error}", hint=hint
        ) from error


def _assumptions(found: Audit, kind: str) -> tuple[str, ...]:
    """What the figures rest on."""
    support, strings = found.questions.support, found.questions.strings
    ending = "with the token that ends them" if support.automaton.eos is not None else "without one that ends them"
    length = (
        "strings of any length"
        if support.length is None
        else f"strings of at most {support.length} tokens, {ending}"
        if not support.exact
        else f"strings of {support.length} tokens, {ending}"
    )
    said = [
        f"the language is of {length}; all ways to cut a string into tokens are in it",
        r"\d, \w and \s are of ASCII; positions after an end are not scored",
        *found.vocabulary.said,
    ]
    if kind == "masked":
        said.append("30 % of the tokens are masked, ends never; each is asked for given those that are seen")
    elif not strings.start:
        said.append("first tokens are not scored: nothing is before them")
    valid = found.files[0].scores.valid
    if valid is not None and found.questions.hidden is None:
        said.append(f"free samples are followed for {valid.length} tokens, and count as what they are by then")
    if found.known == "fitted":
        said.append("weights are counts on every other string, and the others are scored")
    said.append("the best temperature is fitted on a quarter of the strings, and its figures are of the others")
    return (*said, *found.timed)


def _few(choices: int, least: int) -> tuple[str, ...]:
    if choices >= least:
        return ()
    return (f"only {choices} positions have a choice of tokens: {least} are needed for a verdict",)


def _at_an_end(files: list[dict[str, Any]]) -> Iterator[str]:
    from pathlift.models.language.temperature import RANGE

    for file in files:
        if file["temperature"] is not None and file["temperature"]["T"] in RANGE:
            low, high = RANGE
            said = f"the best temperature is {file['temperature']['T']:g}, an end of the range from {low:g} to {high:g}"
            yield f"{file['path'] or 'the model'}: {said}: beyond, it may be better"


def text(payload: Payload) -> Iterator[RenderableType]:
    """Yield a row per file, what changed, and the worst prefixes."""
    yield from language_text(payload)
