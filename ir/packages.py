"""Optional packages: how each is installed, and the coded error where one is imported that is not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pathlift.ir.errors import UsageError

INSTALLS = {
    "dask": "'pathlift[cluster]'",
    "distributed": "'pathlift[cluster]'",
    "interegular": "'pathlift[audit]'",
    "matplotlib": "'pathlift[plot]'",
    "onnxruntime": "'pathlift[cpu]'",
    "onnxscript": "'pathlift[export]'",
    "pandas": "pandas",
    "torch": "'pathlift[torch]'",
    "triton": "triton",
}
"""What pip is to install, by the module that is imported."""


@contextmanager
def optional_packages() -> Iterator[None]:
    """Turn the failed import of an optional package into a coded error; functions may be decorated, too.

    Raises
    ------
    UsageError
        If one is imported that is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if coded := absent(error):
            raise coded from error
        raise


def absent(error: BaseException) -> UsageError | None:
    """Return the coded error of an optional package that is not installed; None if that is not what happened."""
    name = (error.name or "").partition(".")[0] if isinstance(error, ModuleNotFoundError) else ""
    if name not in INSTALLS:
        return None
    package = INSTALLS[name]
    hint = f"pip install {package}"
    if name == "torch":
        hint += "; PyTorch's page Get started has the line for your platform, also without CUDA"
    return UsageError("1415", f"this needs {name}, which is not installed", hint=hint)
