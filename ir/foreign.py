"""Errors of libraries, as coded ones: the one map from what ONNX Runtime, torch and NumPy raise.

=================================================== =================================== ====
what the library says                               error                               exit
=================================================== =================================== ====
out of memory, whoever says it                      `UnsafeModelError` PL0214           3
ONNX Runtime: the model is invalid                  `InvalidModelError` PL0190          3
ONNX Runtime: not implemented, not registered       `ExecutionError` PL0905             4
ONNX Runtime: these feeds are none of the model's   `UsageError` PL1420                 2
an optional package is not installed                `UsageError` PL1415                 2
anything else                                       the caller's, who knows the task
=================================================== =================================== ====

A kernel that fails on feeds that fit (an index out of range, shapes that do not broadcast) is the last kind: nothing is
wrong with the file as a file, and nothing with the feeds but that this model has no value for them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from pathlift.ir.errors import ExecutionError, InvalidModelError, PathliftError, UnsafeModelError, UsageError
from pathlift.ir.packages import absent

FAILURES = (RuntimeError, MemoryError, IndexError, ValueError)
"""What torch and NumPy raise when they fail on values; their other errors are those of a program."""

_NOISE = re.compile(r"\[ONNXRuntimeError\] : \d+ : |Load model from .*? failed: ?")
_MEMORY = re.compile(r"out of memory|bad_alloc|can't allocate memory|[Ff]ailed to allocate memory")
_KERNEL = "while running"
_INVALID = re.compile(r"Invalid model|Type Error:|\[(Shape|Type)InferenceError\]")


@contextmanager
def foreign(task: str, otherwise: Callable[[str], PathliftError], *, programs: bool = False) -> Iterator[None]:
    """Turn what libraries raise into coded errors.

    Parameters
    ----------
    task
        What they do, for messages: ``run the model``.
    otherwise
        Makes the error of what is told no closer, from what the library says.
    programs
        Whether errors of a program (a wrong type, a missing key) count too: where nothing but a library runs.
    """
    try:
        yield
    except PathliftError:
        raise
    except Exception as error:
        if not (programs or isinstance(error, FAILURES) or _is_onnxruntime(error)):
            raise
        raise coded(error, task, otherwise) from error


def loading() -> AbstractContextManager[None]:
    """Turn what ONNX Runtime raises while it loads a model into coded errors."""
    message = "ONNX Runtime cannot load the model"
    return foreign("load the model", lambda said: ExecutionError("0902", f"{message}: {said}"), programs=True)


def running() -> AbstractContextManager[None]:
    """Turn what a model raises while it runs, on whatever runs it, into coded errors."""
    return foreign("run the model", lambda said: ExecutionError("0903", f"the model fails on these inputs: {said}"))


def coded(error: Exception, task: str, otherwise: Callable[[str], PathliftError]) -> PathliftError:
    """Return the coded error of what a library raised; parameters are those of `foreign`."""
    reason, kind = said(error), type(error).__name__ if _is_onnxruntime(error) else ""
    if missing := absent(error):
        return missing
    if is_out_of_memory(error):
        return out_of_memory(task)
    if kind and _KERNEL not in reason:
        if kind in ("InvalidGraph", "InvalidProtobuf", "NoModel") or _INVALID.search(reason):
            return InvalidModelError("0190", f"cannot {task}: ONNX Runtime finds it invalid: {reason}")
        if kind == "InvalidArgument":
            return UsageError("1420", f"cannot {task}: ONNX Runtime does not take these inputs: {reason}")
    if kind == "NotImplemented" or (kind and "is not a registered" in reason):
        return ExecutionError("0905", f"cannot {task}: ONNX Runtime does not implement it: {reason}")
    return otherwise(reason)


def is_out_of_memory(error: Exception) -> bool:
    """Whether this is how Python, NumPy, torch or ONNX Runtime say that memory ran out."""
    if isinstance(error, MemoryError):
        return True
    return (isinstance(error, RuntimeError) or _is_onnxruntime(error)) and bool(_MEMORY.search(str(error)))


def out_of_memory(task: str) -> UnsafeModelError:
    """Return the error that memory ran out over a task."""
    return UnsafeModelError("0214", f"cannot {task}: out of memory")


def said(error: Exception) -> str:
    """Return what a library says, in one line without ONNX Runtime's codes and paths, cut when absurdly long."""
    text = " ".join(_NOISE.sub("", str(error)).split())[:300]
    if _is_onnxruntime(error) or type(error) is RuntimeError:
        return text or type(error).__name__
    return f"{type(error).__name__}: {text}"


def _is_onnxruntime(error: Exception) -> bool:
    return type(error).__module__.startswith("onnxruntime.")
