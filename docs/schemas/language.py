"""Token models on a regular language: `audit language`."""

from __future__ import annotations

from typing import Literal

from typing_extensions import TypedDict

from schemas.costs import Latency
from schemas.envelope import Record


@Record
class Automaton(TypedDict):
    """The language, over the vocabulary's tokens."""

    states: int
    tokens: int
    forced: float
    """The share of positions at which a single token may stand."""
    length: int | None
    """The most tokens of a string, that which ends it among them; exactly so many where none does. Null: no limit."""


@Record
class OffSupport(TypedDict):
    """Probability of tokens that lead out of the language."""

    mean: float
    p95: float


@Record
class Infinite(TypedDict):
    """Positions at which a figure is infinite: the model excludes what may stand there."""

    support: int
    frequency: int


@Record
class Valid(TypedDict):
    """The probability that what the model says freely is a string of the language."""

    value: float
    se: float
    """Its standard error."""
    samples: int
    length: int
    """The most tokens that are looked at."""
    unfinished: float
    """The part of the value that is of samples that go on then: they count as what they are so far."""


@Record
class Temperature(TypedDict):
    """The best temperature, fitted on a quarter of the strings."""

    T: float
    support: float | None
    """Of the other strings; null where it is infinite."""
    frequency: float | None


@Record
class State(TypedDict):
    """What is lost in a state of the automaton."""

    state: int
    prefix: str
    """A text after which the automaton is in it."""
    places: int
    support: float | None
    frequency: float | None
    off_support: float


@Record
class Place(TypedDict):
    """What is lost at a position of strings."""

    position: int
    """From 0."""
    places: int
    off_support: float


@Record
class TokenModel(TypedDict):
    """A file. Losses are nats a token; null where one is infinite."""

    path: str | None
    bytes: int
    """As it is saved; of what is no file, those of its weights."""
    latency: Latency | None
    """Null unless files were timed."""
    accuracy: float
    """The share of positions where the data's token has the largest logit; a tie is none."""
    support: float | None
    """−log q(S) of the tokens S that may stand there."""
    support_ci: list[float] | None
    """95 %, by bootstrap over strings."""
    frequency: float | None
    """KL(p ‖ q(·|S)); without weights −log q(x|S) of the data."""
    frequency_ci: list[float] | None
    kl: float | None
    """KL(p ‖ q); null without weights."""
    nll: float | None
    """−log q(x)."""
    off_support: OffSupport
    infinite: Infinite
    auc: float | None
    """The share of pairs of a token that may stand there and one that may not, which logits put in order."""
    rank: float | None
    """The share of pairs of tokens that may stand there, which logits put in the order of p; null without weights."""
    valid: Valid | None
    temperature: Temperature | None
    by_state: list[State]
    by_position: list[Place]


@Record
class Change(TypedDict):
    """How much more a file loses than the first, in nats a token."""

    path: str | None
    support: float | None
    support_ci: list[float] | None
    frequency: float | None
    frequency_ci: list[float] | None
    share_support: float | None
    """The support's part; null unless both parts are losses."""
    infinite: Infinite
    """At how many places each part is infinite only in this file: without any, null is a change to what is finite."""


@Record
class Limits(TypedDict):
    """As they were given."""

    support: float | None
    frequency: float | None


@Record
class Slip(TypedDict):
    """A token that leads out of the language, and is likely."""

    path: str | None
    prefix: str
    token: str
    id: int
    q: float
    string: int
    """Its number in the data that is in the language."""
    position: int


@Record
class AuditLanguage(TypedDict):
    """What token models lose off a language, and inside it."""

    kind: Literal["next", "masked"]
    automaton: Automaton
    strings: int
    """That are scored."""
    skipped: int
    """That are not in the language."""
    positions: int
    choices: int
    """Positions at which more than one token may stand."""
    weights: Literal["given", "fitted"] | None
    files: list[TokenModel]
    change: list[Change]
    verdict: Literal["support", "frequency", "both", "none"]
    """Parts whose interval is above the limit; without one, above 0.01 and 0.02 nats a token."""
    limits: Limits
    worst: list[Slip]
