"""Modules of generated source, loaded without a file: their source is known to tracebacks, and to Triton, by name."""

from __future__ import annotations

import functools
import hashlib
import linecache
from types import ModuleType

from pathlift.ir.errors import UsageError


@functools.lru_cache(maxsize=4096)
def load(source: str) -> ModuleType:
    """Return the module that a source is; the same one for the same source.

    Raises
    ------
    UsageError
        If Triton is not installed.
    """
    return execute(source)


def execute(source: str) -> ModuleType:
    """Return a module of its own, unlike `load`.

    Raises
    ------
    UsageError
        If Triton is not installed.
    """
    require_triton()
    name = f"pathlift_kernel_{hashlib.sha256(source.encode()).hexdigest()[:16]}"
    file = f"<{name}>"
    module = ModuleType(name, "A generated kernel.")
    module.__file__ = file
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    exec(compile(source, file, "exec"), module.__dict__)
    return module


def require_triton() -> None:
    """Refuse to go on without Triton.

    Raises
    ------
    UsageError
        If it is not installed.
    """
    try:
        import triton  # noqa: F401 (whether it can be)
    except ImportError as error:
        raise UsageError("1434", "generated kernels need Triton", hint="pip install 'pathlift[gpu]'") from error
