"""The registry of passes: the built-in ones, and those that installed packages declare as entry points.

A built-in pass cannot be replaced by another of its name. What is wrong with another package is told only to those who
name its pass.
"""

from __future__ import annotations

import dataclasses
import difflib
import importlib
import inspect
import typing
from collections.abc import Iterable, Mapping
from importlib.metadata import EntryPoint, entry_points

from pathlift.ir.errors import TextError
from pathlift.ir.packages import optional_packages
from pathlift.passes.base import Effect, Pass, Transform

GROUP = "pathlift.passes"
BUILT_IN = {
    "path-norm": "pathlift.passes.path_norm.path_norm:PathNorm",
    "heaviest-path": "pathlift.passes.heaviest_path.heaviest_path:HeaviestPath",
    "strip-head": "pathlift.passes.rewrites.strip_head:StripHead",
    "dead-code": "pathlift.passes.rewrites.dead_code:DeadCode",
    "fold-batchnorm": "pathlift.passes.rewrites.fold_batchnorm:FoldBatchnorm",
    "constant-folding": "pathlift.passes.rewrites.constant_folding:ConstantFolding",
    "common-subexpressions": "pathlift.passes.rewrites.common_subexpressions:CommonSubexpressions",
    "merge-linears": "pathlift.passes.rewrites.merge_linears:MergeLinears",
    "merge-parallel": "pathlift.passes.rewrites.merge_parallel:MergeParallel",
    "merge-collinear": "pathlift.passes.rewrites.merge_collinear:MergeCollinear",
    "prune": "pathlift.passes.pruning.prune:Prune",
    "dead-channels": "pathlift.passes.pruning.dead_channels:DeadChannels",
    "tighten": "pathlift.passes.tightening.tighten:Tighten",
    "ks-detect": "pathlift.passes.kronecker.detect:KsDetect",
    "ks-replace": "pathlift.passes.kronecker.replace:KsReplace",
    "ks-fit": "pathlift.passes.kronecker.ks_fit:ApproximateLayers",
    "ks-epilogue": "pathlift.passes.kronecker.epilogue:FuseEpilogue",
    "ks-layout": "pathlift.passes.kronecker.layout:AssignLayout",
    "ks-codegen": "pathlift.codegen.ks_codegen:AssignKernels",
    "canonicalize": "pathlift.passes.rescaling.canonicalize:Canonicalize",
    "random-rescale": "pathlift.passes.rescaling.random_rescale:RandomRescale",
}


class UnavailablePassError(TextError):
    """A pass that another package declares cannot be used (exit 2): PL0658.

    Parameters
    ----------
    name
        Of the pass.
    packages
        The packages that declare it.
    reason
        What is wrong.
    hint
        What the user can do.
    """

    def __init__(self, name: str, packages: tuple[str, ...], reason: str, *, hint: str = "") -> None:
        super().__init__("0658", f"pass {name!r} of package {' and '.join(packages)}: {reason}", hint=hint)
        self.name, self.packages, self.reason = name, packages, reason


def pass_names() -> tuple[str, ...]:
    """Names of all passes: the built-in ones, then those of installed packages."""
    return (*BUILT_IN, *(name for name in _declared() if name not in BUILT_IN))


def find_pass(name: str) -> type[Pass]:
    """Return the pass class of this name.

    Raises
    ------
    TextError
        If there is none.
    UsageError
        If it needs an optional package that is not installed.
    UnavailablePassError
        If there is one in another package, but it cannot be loaded, is no pass, or is declared by two packages.
    """
    if name in BUILT_IN:
        module, _, attribute = BUILT_IN[name].partition(":")
        with optional_packages():
            found: type[Pass] = getattr(importlib.import_module(module), attribute)
        return found
    entries = _declared().get(name, ())
    packages = tuple(map(_package, entries))
    if not entries:
        raise TextError("0650", f"there is no pass {name!r}", hint=closest(name, pass_names()))
    if len(entries) > 1:
        raise UnavailablePassError(name, packages, "which of them is not known", hint="uninstall all but one")
    try:
        loaded = entries[0].load()
    except Exception as error:
        raise UnavailablePassError(name, packages, f"{type(error).__name__}: {error}") from error
    if problem := _problem(name, loaded):
        raise UnavailablePassError(name, packages, problem)
    checked: type[Pass] = loaded
    return checked


def shadowed(names: Iterable[str]) -> tuple[str, ...]:
    """Say which of these built-in passes another package declares too: one sentence each."""
    declared = _declared()
    return tuple(
        f"pass {name!r} of package {_package(entry)} is left out: a built-in pass has that name"
        for name in dict.fromkeys(names)
        if name in BUILT_IN
        for entry in declared.get(name, ())
    )


def closest(name: str, names: Iterable[str]) -> str:
    """Return a hint for a name that is not among `names`: the one that was meant, or all of them."""
    known = tuple(names)
    matches = difflib.get_close_matches(name.lower().replace("_", "-"), known, n=1)
    return f"did you mean {matches[0]!r}?" if matches else f"there are: {', '.join(known) or 'none'}"


def label(cls: type[Pass]) -> str:
    """How a message calls a pass: with its package, unless it is built in."""
    top = cls.__module__.partition(".")[0]
    if top == "pathlift":
        return f"pass {cls.name!r}"
    entries = [e for e in _declared().get(cls.name, ()) if e.module.partition(".")[0] == top]
    return f"pass {cls.name!r} of package {_package(entries[0]) if entries else top}"


def _declared() -> Mapping[str, tuple[EntryPoint, ...]]:
    """The entry points of installed packages, by pass name; several if packages disagree."""
    names: dict[str, tuple[EntryPoint, ...]] = {}
    for entry in sorted(entry_points(group=GROUP), key=lambda e: (e.name, _package(e))):
        names[entry.name] = (*names.get(entry.name, ()), entry)
    return names


def _package(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist is not None else entry.module.partition(".")[0]


def _problem(name: str, found: object) -> str:
    """What keeps an object from being a pass of this name; empty if nothing does."""
    if not (isinstance(found, type) and issubclass(found, Pass)):
        return "it is no subclass of pathlift.passes.base.Pass"
    if inspect.isabstract(found):
        return f"it does not define {', '.join(sorted(found.__abstractmethods__))}"
    if getattr(found, "name", None) != name:
        return f"the class calls itself {getattr(found, 'name', None)!r}"
    if not (dataclasses.is_dataclass(found) and getattr(found, "__dataclass_params__").frozen):  # noqa: B009
        return "it is not a frozen dataclass"
    if issubclass(found, Transform) and not isinstance(found.effect, Effect):
        return f"its effect on path-norms is {found.effect!r}, not an Effect"
    try:
        typing.get_type_hints(found)
    except Exception as error:
        return f"the types of its options are not known: {error}"
    return ""
