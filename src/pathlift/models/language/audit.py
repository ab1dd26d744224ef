"""The audit of token models: a language and data, then file after file, scored on the same places."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from pathlift.automata.regex import compile_regex
from pathlift.automata.support import Support
from pathlift.automata.tokens import TokenAutomaton, token_automaton
from pathlift.automata.vocabulary import Vocabulary, read_vocabulary
from pathlift.automata.weighted import Weighted, fitted
from pathlift.ir.errors import UsageError, about
from pathlift.ir.limits import MEMORY_LIMIT
from pathlift.ir.stages import stage
from pathlift.ir.types import Array
from pathlift.models.data import read_arrays
from pathlift.models.file_costs import batch_size, costs
from pathlift.models.language.data import check_weighed, drawn, framed, in_language, token_array
from pathlift.models.language.logits import TokenModel
from pathlift.models.language.places import Questions, hide
from pathlift.models.language.scores import Scores, score
from pathlift.models.language.validity import Validity, free_fills, free_strings
from pathlift.models.language.weights import read_weights
from pathlift.models.session import start
from pathlift.models.source import open_model
from pathlift.report.costs import Cost
from pathlift.report.result import Source
from pathlift.runtime.session import CheckedSession

HIDDEN = 0.3
"""The share of tokens that models of hidden tokens are asked for."""
FOLLOWED = 4
"""Times the longest string of the data that free samples are followed for, where there is no limit of length."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is asked; fields are the verb's options."""

    regex: str
    vocab: Any
    data: Any = None
    samples: int = 0
    kind: Literal["next", "masked"] = "next"
    mask_token: int | None = None
    weights: Any = None
    fit_weights: bool = False
    bos: int | None = None
    eos: int | None = None
    max_length: int | None = None
    generate: int = 500
    skip_invalid: bool = False
    output: str = ""
    seed: int = 0
    memory_limit: int = MEMORY_LIMIT
    seconds: float = 0.0


@dataclass(frozen=True, eq=False)
class Scored:
    """A file, its scores, and what it costs."""

    source: Source
    scores: Scores
    warnings: tuple[str, ...]
    cost: Cost


@dataclass(frozen=True, eq=False)
class Audit:
    """Files scored on the same places.

    Parameters
    ----------
    questions
        The language, the strings, and what was asked of them.
    vocabulary
        Tokens as text.
    files
        In the order given.
    known
        Where p comes from; None where it is not known.
    timed
        What times rest on, if there are any.
    """

    questions: Questions
    vocabulary: Vocabulary
    files: tuple[Scored, ...]
    known: Literal["given", "fitted"] | None
    timed: tuple[str, ...] = ()


def audit(models: Sequence[Any], request: Request, told: Callable[[str, int, int], object] | None = None) -> Audit:
    """Score files on strings of a language.

    Parameters
    ----------
    models
        Token models, as `Session` takes them.
    request
        The language, the data, and how they are read.
    told
        Called with a part's name, how many strings were read, and how many there are.

    Raises
    ------
    PathliftError
        If the language, the vocabulary, data, weights or a model are not what they have to be.
    """
    vocabulary, automaton = language(request)
    questions: Questions | None = None
    known: Literal["given", "fitted"] | None = None
    scored = np.zeros(0, np.int64)
    opened = [open_model(model, memory_limit=request.memory_limit) for model in models]
    names = [file.source.path or f"model {i + 1}" for i, file in enumerate(opened)]
    found: list[Scores] = []
    readers: list[TokenModel] = []
    for file, name in zip(opened, names, strict=True):
        with about(file.source.path or ""):
            session = CheckedSession(*start(file, "cpu", threads=None, executor="auto"))
            pad = request.eos if request.eos is not None else 0
            reader = TokenModel(session, automaton.tokens, output=request.output, pad=pad)
        if questions is None:
            questions, scored, known = ask(request, automaton, vocabulary, reader)
        if request.kind == "masked" and reader.width > questions.strings.tokens.shape[1] and not reader.masks:
            reason = f"the strings have {questions.strings.tokens.shape[1]} tokens, the model takes {reader.width}"
            raise UsageError("1587", f"{reason} and no mask of attention", hint="pad the data as the model was trained")
        if request.seconds:
            readers.append(reader)
            batch_size(((other, read.rows) for other, read in zip(names, readers, strict=False)), len(scored))
        with stage(f"scoring {name}"), about(file.source.path or ""):
            count = None if told is None else (lambda n, of, name=name: told(name, n, of))
            own = score(reader, questions, scored, request.seed, count)
        with stage(f"sampling {name}"), about(file.source.path or ""):
            found.append(replace(own, valid=validity(reader, questions, scored, request)))
    if questions is None:
        raise UsageError("1589", "there is no model", hint="audit language a.onnx b.onnx")
    paid, timed = costs(opened, names, _feeds(names, readers, questions, scored), request.seconds, request.seed)
    files = tuple(
        Scored(file.source, own, tuple(file.warnings), cost)
        for file, own, cost in zip(opened, found, paid, strict=True)
    )
    return Audit(questions, vocabulary, files, known, timed)


def _feeds(
    names: Sequence[str], readers: Sequence[TokenModel], questions: Questions, scored: Array
) -> list[dict[str, Array]]:
    """What each file reads of the first strings, again from the first where a batch is larger."""
    width = questions.strings.tokens.shape[1]
    usual = min((reader.batch(width) for reader in readers), default=1)
    size = batch_size(((name, own.rows) for name, own in zip(names, readers, strict=False)), min(usual, len(scored)))
    batch, tokens = questions.batch(scored[np.arange(size) % len(scored)])
    return [reader.feeds(tokens, batch.ends, batch.more) for reader in readers]


def language(request: Request) -> tuple[Vocabulary, TokenAutomaton]:
    """Return the vocabulary and the automaton over it.

    Raises
    ------
    UsageError
        If a special token is none of the vocabulary, or two are the same; if no string of tokens is in the language.
    """
    vocabulary = read_vocabulary(request.vocab)
    size, taken = len(vocabulary.tokens), dict[int, str]()
    for name, token in (("--bos", request.bos), ("--eos", request.eos), ("--mask-token", request.mask_token)):
        if token is None:
            continue
        if token < 0 or (token >= size and name != "--mask-token"):
            raise UsageError("1590", f"{name} {token} is no token of {size}", hint="ids from 0 on")
        if token in taken:
            raise UsageError("1590", f"{name} and {taken[token]} are both token {token}", hint="each is another one")
        taken[token] = name
    with stage("making the automaton"):
        dfa = compile_regex(request.regex)
        special = [request.bos, request.eos, request.mask_token]
        automaton = token_automaton(dfa, vocabulary.without(special).tokens, eos=request.eos, strip=vocabulary.strip)
    if not automaton.accepting.any():
        raise UsageError("1581", "the vocabulary's tokens make no string that the regular expression matches")
    return vocabulary, automaton


def ask(
    request: Request, automaton: TokenAutomaton, vocabulary: Vocabulary, model: TokenModel
) -> tuple[Questions, Array, Literal["given", "fitted"] | None]:
    """Return what models are asked, the strings that are scored, and where p comes from."""
    length = None if request.max_length is None else request.max_length + (request.eos is not None)
    needed = 8 * automaton.states * automaton.tokens
    if needed > request.memory_limit and (request.weights is not None or request.fit_weights or request.data is None):
        reason = f"weights of {automaton.states} states and {automaton.tokens} tokens take {needed} bytes"
        raise UsageError("1593", f"{reason}, the limit is {request.memory_limit}", hint="raise --memory-limit")
    given = None if request.weights is None else read_weights(request.weights, automaton)
    size = len(vocabulary.tokens)
    if request.data is None:
        support = _limited(automaton, length)
        ones = np.ones((automaton.states, automaton.tokens)) if given is None else given
        strings = drawn(support, Weighted(support, ones), request.samples, bos=request.bos, seed=request.seed)
    else:
        arrays = request.data if isinstance(request.data, Mapping) else read_arrays({"": request.data})
        tokens, more = token_array(arrays, model.name, model.others)
        strings = framed(tokens, more, bos=request.bos, eos=request.eos, size=size)
        if request.eos is None:
            width = strings.tokens.shape[1] - strings.start
            if length not in (None, width):
                hint = "strings without an end token fill their rows"
                raise UsageError("1589", f"--max-length {length} is given, and rows have {width} tokens", hint=hint)
            length = width
        support = _limited(automaton, length)
        strings = in_language(strings, support, vocabulary, skip=request.skip_invalid)
    scored, weighted, known = np.arange(len(strings)), None, None
    if given is not None:
        weighted, known = Weighted(support, given), "given"
        check_weighed(strings, automaton, given)
    elif request.fit_weights:
        if len(strings) < 2:
            raise UsageError("1589", "--fit-weights needs two strings at least: half are for fitting", hint="more data")
        weights = fitted(automaton, (strings.string(row) for row in scored[::2]))
        weighted, known, scored = Weighted(support, weights), "fitted", scored[1::2]
    hidden = hide(strings, request.eos, HIDDEN, request.seed) if request.kind == "masked" else None
    return Questions(strings, support, weighted, hidden, request.mask_token or 0), scored, known  # type: ignore[return-value]  # one of the two words


def _limited(automaton: TokenAutomaton, length: int | None) -> Support:
    support = Support(automaton, length)
    if not support.live(length)[0]:
        raise UsageError("1581", f"no string of the language has {length} tokens or fewer", hint="--max-length")
    return support


def validity(model: TokenModel, questions: Questions, scored: Array, request: Request) -> Validity | None:
    """Return how often free samples are strings of the language; None if none are to be drawn."""
    strings = questions.strings
    if not request.generate:
        return None
    rows = scored[np.arange(request.generate) % len(scored)]
    if questions.hidden is not None:
        return free_fills(
            model, questions.support, strings.part(rows), questions.hidden[rows], questions.mask, request.seed
        )
    begun, support = strings.start, questions.support
    length = support.length or FOLLOWED * (strings.tokens.shape[1] - begun)
    if model.width:
        length = min(length, model.width + 1 - begun)
    begins = strings.tokens[rows, : max(begun, 1)]
    return free_strings(model, support, begins, begun, request.seed, length)
