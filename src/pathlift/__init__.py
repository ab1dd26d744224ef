"""Compiler passes over neural-network graphs: path-norms, rescaling, certificates, Kronecker-sparse kernels.

Names are imported on first use: `import pathlift` alone costs nothing, and inspecting a model never imports torch. An
optional package that is not installed is a coded error where it is needed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pathlift.verbs import VERBS

if TYPE_CHECKING:
    from pathlift.frontend.load import load as load
    from pathlift.frontend.save import save as save
    from pathlift.ir.errors import PathliftError as PathliftError
    from pathlift.ir.graph import Graph as Graph
    from pathlift.loss import PathNormLoss as PathNormLoss
    from pathlift.loss import path_norm_loss as path_norm_loss
    from pathlift.models.session import Session as Session
    from pathlift.prune_module import prune_module as prune_module
    from pathlift.report.result import Result as Result
    from pathlift.verbs.analyze import analyze as analyze
    from pathlift.verbs.audit_language import audit_language as audit_language
    from pathlift.verbs.bench import bench as bench
    from pathlift.verbs.bound import bound as bound
    from pathlift.verbs.calibrate import calibrate as calibrate
    from pathlift.verbs.canonicalize import canonicalize as canonicalize
    from pathlift.verbs.codegen import generate_kernels as generate_kernels
    from pathlift.verbs.compare import compare as compare
    from pathlift.verbs.export import export as export
    from pathlift.verbs.inspect import inspect as inspect
    from pathlift.verbs.ks_detect import ks_detect as ks_detect
    from pathlift.verbs.ks_fit import ks_fit as ks_fit
    from pathlift.verbs.norm import norm as norm
    from pathlift.verbs.opt import opt as opt
    from pathlift.verbs.passes import list_passes as list_passes
    from pathlift.verbs.prune import prune as prune
    from pathlift.verbs.run import run as run
    from pathlift.verbs.schema import schema as schema
    from pathlift.verbs.verify_cert import verify_cert as verify_cert

    __version__: str

# Where each name lives. Type checkers read the imports above; a test keeps the two the same.
_HOMES = {
    "Graph": "pathlift.ir.graph",
    "PathNormLoss": "pathlift.loss",
    "PathliftError": "pathlift.ir.errors",
    "Result": "pathlift.report.result",
    "Session": "pathlift.models.session",
    "load": "pathlift.frontend.load",
    "path_norm_loss": "pathlift.loss",
    "prune_module": "pathlift.prune_module",
    "save": "pathlift.frontend.save",
    **{name: module for module, _, name in (home.partition(":") for home in VERBS.values())},
}

__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> object:
    value: object
    if name == "__version__":
        from importlib.metadata import version

        value = version("pathlift")
    elif name in _HOMES:
        from importlib import import_module
        from types import FunctionType

        from pathlift.ir.packages import optional_packages

        with optional_packages():
            value = getattr(import_module(_HOMES[name]), name)
        if isinstance(value, FunctionType):
            value = optional_packages()(value)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
