"""Printing graphs between passes: before and after those that are named, or wherever one changed something."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from pathlift.ir.errors import UsageError
from pathlift.ir.graph import Graph
from pathlift.ir.text import print_graph

EVERY = "all"


def to_stderr(when: str, text: str) -> None:
    """Print a text to stderr under what it comes before or after."""
    print(f"# {when}", text, sep="\n", file=sys.stderr, flush=True)


@dataclass
class IrPrinter:
    """What is printed, and when.

    Parameters
    ----------
    before, after
        Names of passes; ``all`` for every one.
    changes
        Print after each pass that returned another graph.
    metadata
        Print what the model says about itself and its nodes, too.
    callback
        Called with the name of every pass and the text after it.
    """

    before: Sequence[str] = ()
    after: Sequence[str] = ()
    changes: bool = False
    metadata: bool = False
    callback: Callable[[str, str], None] | None = None
    _last: Graph | None = field(default=None, init=False)

    def check(self, passes: Sequence[str]) -> None:
        """Check that the passes that are named run.

        Raises
        ------
        UsageError
            If one does not.
        """
        for name in (*self.before, *self.after):
            if name not in (*passes, EVERY):
                hint = f"these run: {', '.join(passes) or 'none'}"
                raise UsageError("1417", f"the IR cannot be printed around {name!r}, which does not run", hint=hint)

    def before_pass(self, name: str, graph: Graph) -> None:
        """Print a graph before a pass, if asked to."""
        self._last = graph
        if {name, EVERY} & set(self.before):
            to_stderr(f"before {name}", self._text(graph))

    def after_pass(self, name: str, graph: Graph) -> None:
        """Print a graph after a pass, if asked to."""
        if {name, EVERY} & set(self.after) or (self.changes and graph is not self._last):
            to_stderr(f"after {name}", self._text(graph))
        if self.callback is not None:
            self.callback(name, self._text(graph))

    def _text(self, graph: Graph) -> str:
        return print_graph(graph, metadata=self.metadata)
