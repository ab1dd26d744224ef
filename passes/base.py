"""Base classes of passes: frozen dataclasses whose fields are their options.

The command line, the pipeline string and Python read the same fields. An `Analysis` returns a result; a `Transform`
returns the new graph and the witness, the evidence that the pipeline checks. Passes of other packages come through
the entry-point group ``pathlift.passes``.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, ClassVar, Generic, TypeVar

from pathlift.ir.graph import Graph
from pathlift.passes.docstring import parameter_help, summary

Result = TypeVar("Result")


class Pass(ABC):
    """Base of all passes; subclasses are frozen dataclasses.

    Attributes
    ----------
    name
        Kebab-case, as in a pipeline string.
    """

    name: ClassVar[str]

    @classmethod
    def summary(cls) -> str:
        """One line of help: the docstring's first."""
        return summary(cls.__doc__)

    @classmethod
    def options(cls) -> Mapping[str, dataclasses.Field[Any]]:
        """The pass's options: its dataclass fields, by kebab-case name."""
        return {f.name.replace("_", "-"): f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]  # an analysis is a dataclass

    @classmethod
    def option_help(cls) -> Mapping[str, str]:
        """A sentence about each option: its field's ``metadata["help"]``, or what the docstring says of it."""
        told = parameter_help(cls.__doc__)
        return {name: str(f.metadata.get("help", told.get(f.name, ""))) for name, f in cls.options().items()}


class Analysis(Pass, Generic[Result]):
    """A pass that computes something about a graph and leaves it alone."""

    @abstractmethod
    def run(self, graph: Graph) -> Result:
        """Analyse `graph`.

        Raises
        ------
        UnsupportedError
            If there is no proved rule for a node; names node, op and reason.
        """


class Witness(ABC):
    """The evidence that a transform did what it says."""

    @abstractmethod
    def check(self, before: Graph, after: Graph) -> None:
        """Check the evidence against both graphs.

        Raises
        ------
        WitnessError
            If it does not hold.
        """

    def describe(self) -> str:
        """One line about what was done; empty if nothing is worth saying."""
        return ""


@dataclasses.dataclass(frozen=True)
class Rewritten:
    """What a transform returns; ``graph is before`` means that it changed nothing."""

    graph: Graph
    witness: Witness


class Effect(StrEnum):
    """What a transform may do to path-norms."""

    KEEPS = "unchanged"
    LOWERS = "never raised"
    LOWERS_TO_ONE = "not raised for q ≤ 1"
    ANY = "may change"


class Transform(Pass):
    """A pass that returns another graph.

    Attributes
    ----------
    effect
        On the path-norms of the network; `docs/theory.md` says why.
    """

    effect: ClassVar[Effect] = Effect.ANY

    @abstractmethod
    def run(self, graph: Graph) -> Rewritten:
        """Rewrite `graph`.

        Raises
        ------
        UnsupportedError
            If a precondition fails; says which node and why.
        """
