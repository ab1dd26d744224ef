"""Compiler passes over neural-network graphs: path-norms, rescaling, certificates, Kronecker-sparse kernels.

Names are imported on first use: `import pathlift` alone costs nothing, and inspecting a model never imports torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlift.frontend.load import load
    from pathlift.frontend.save import save
    from pathlift.ir.errors import PathliftError
    from pathlift.ir.graph import Graph
    from pathlift.loss import PathNormLoss, path_norm_loss
    from pathlift.models.session import Session
    from pathlift.report.result import Result
    from pathlift.verbs.bench import bench
    from pathlift.verbs.canonicalize import canonicalize
    from pathlift.verbs.compare import compare
    from pathlift.verbs.export import export
    from pathlift.verbs.inspect import inspect
    from pathlift.verbs.ks_detect import ks_detect
    from pathlift.verbs.ks_fit import ks_fit
    from pathlift.verbs.norm import norm
    from pathlift.verbs.opt import opt
    from pathlift.verbs.passes import list_passes
    from pathlift.verbs.run import run

    __version__: str

# Where each name lives. Type checkers read the imports above; a test keeps the two the same.
_HOMES = {
    "Graph": "pathlift.ir.graph",
    "PathNormLoss": "pathlift.loss",
    "PathliftError": "pathlift.ir.errors",
    "Result": "pathlift.report.result",
    "Session": "pathlift.models.session",
    "bench": "pathlift.verbs.bench",
    "canonicalize": "pathlift.verbs.canonicalize",
    "compare": "pathlift.verbs.compare",
    "export": "pathlift.verbs.export",
    "inspect": "pathlift.verbs.inspect",
    "ks_detect": "pathlift.verbs.ks_detect",
    "ks_fit": "pathlift.verbs.ks_fit",
    "list_passes": "pathlift.verbs.passes",
    "load": "pathlift.frontend.load",
    "norm": "pathlift.verbs.norm",
    "opt": "pathlift.verbs.opt",
    "path_norm_loss": "pathlift.loss",
    "run": "pathlift.verbs.run",
    "save": "pathlift.frontend.save",
}

__all__ = [
    "Graph",
    "PathNormLoss",
    "PathliftError",
    "Result",
    "Session",
    "__version__",
    "bench",
    "canonicalize",
    "compare",
    "export",
    "inspect",
    "ks_detect",
    "ks_fit",
    "list_passes",
    "load",
    "norm",
    "opt",
    "path_norm_loss",
    "run",
    "save",
]


def __getattr__(name: str) -> object:
    value: object
    if name == "__version__":
        from importlib.metadata import version

        value = version("pathlift")
    elif name in _HOMES:
        from importlib import import_module

        value = getattr(import_module(_HOMES[name]), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
