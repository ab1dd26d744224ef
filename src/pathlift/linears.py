"""Linear layers of a PyTorch module: those that globs name, where each is, and why some cannot be replaced."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear
from torch.nn.parameter import is_lazy
from torch.nn.utils import parametrize

from pathlift.ir.errors import UsageError

_SHOWN = 5
"""Names that a hint lists."""
_HOOKS = ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")


@dataclass(frozen=True, eq=False)
class Linear:
    """A linear layer, perhaps one that several parts of a module share.

    Parameters
    ----------
    layer
        The layer.
    names
        All that the module has for it.
    reason
        Why it cannot be replaced; empty if it can be.
    """

    layer: nn.Linear
    names: tuple[str, ...]
    reason: str

    def is_called(self, glob: str) -> bool:
        """Whether a glob matches one of its names."""
        return any(fnmatch.fnmatchcase(name, glob) for name in self.names)


def linears(module: nn.Module, layers: str | Sequence[str]) -> list[Linear]:
    """Find the linear layers that globs name.

    Parameters
    ----------
    module
        What they are parts of.
    layers
        A text with globs of names, separated by commas; or a sequence of globs.

    Raises
    ------
    UsageError
        If this is no module, or one that is a linear layer itself; if these are no globs, or one names no layer.
    """
    if not isinstance(module, nn.Module):
        raise UsageError("1456", f"a {type(module).__name__} is no torch.nn.Module")
    names: dict[nn.Linear, list[str]] = {}
    for name, part in module.named_modules(remove_duplicate=False):
        if isinstance(part, nn.Linear) and part is not module:
            names.setdefault(part, []).append(name)
    if isinstance(module, nn.Linear) and not names:
        message = "the module is a linear layer itself, and has none to replace"
        raise UsageError("1451", message, hint="KSLinear.from_linear")
    owners = _owners(module)
    found = [Linear(part, tuple(called), _refusal(module, part, called, owners)) for part, called in names.items()]
    globs = _globs(layers)
    for glob in globs:
        check_named(found, glob)
    return [linear for linear in found if any(map(linear.is_called, globs))]


def check_named(found: Sequence[Linear], glob: str) -> None:
    """Check that a glob names one of these layers.

    Raises
    ------
    UsageError
        If it does not; lists some that could be named.
    """
    if any(linear.is_called(glob) for linear in found):
        return
    shown = ", ".join(linear.names[0] for linear in found[:_SHOWN])
    more = f", and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    raise UsageError("1450", f"no linear layer is called {glob!r}", hint=f"there are {shown or 'none'}{more}")


def _globs(layers: Any) -> list[str]:
    globs = [glob.strip() for glob in layers.split(",")] if isinstance(layers, str) else layers
    if not isinstance(globs, Sequence) or not globs or not all(isinstance(glob, str) for glob in globs):
        raise UsageError("1457", f"{layers!r} is neither a glob nor a sequence of some", hint='"*.fc1,*.fc2"')
    return list(globs)


def _owners(module: nn.Module) -> dict[int, list[str]]:
    """The names of all tensors by where in memory they lie; one that two modules hold has two names."""
    found: dict[int, list[str]] = {}
    for name, part in module.named_modules():
        for own, tensor in _tensors(part):
            found.setdefault(_memory(tensor), []).append(f"{name}.{own}".removeprefix("."))
    return found


def _tensors(part: nn.Module) -> Iterable[tuple[str, Tensor]]:
    yield from part.named_parameters(recurse=False, remove_duplicate=False)
    yield from part.named_buffers(recurse=False, remove_duplicate=False)


def _memory(tensor: Tensor) -> int:
    try:
        return tensor.untyped_storage().data_ptr() or id(tensor)
    except (RuntimeError, NotImplementedError, ValueError):  # it is not initialized, or of a kind without storage
        return id(tensor)


def _refusal(module: nn.Module, part: nn.Linear, names: Sequence[str], owners: Mapping[int, Sequence[str]]) -> str:
    """Say why a layer cannot be replaced, if so."""
    kind = type(part)
    if parametrize.is_parametrized(part):
        return "its parameters are parametrized"
    if any(is_lazy(tensor) for _, tensor in _tensors(part)):
        return "it is not initialized: run the module first"
    parents = [module.get_submodule(name.rpartition(".")[0]) for name in names]
    if isinstance(part, NonDynamicallyQuantizableLinear) or any(isinstance(p, nn.MultiheadAttention) for p in parents):
        return "attention reads its weights without calling it"
    if kind.forward is not nn.Linear.forward or kind.__call__ is not nn.Linear.__call__ or "forward" in vars(part):
        return f"its class, {kind.__name__}, has a forward of its own"
    if any(getattr(part, hooks) for hooks in _HOOKS):
        return "it has hooks"
    return _refusal_of_tensors(part, names[0], owners)


def _refusal_of_tensors(part: nn.Linear, name: str, owners: Mapping[int, Sequence[str]]) -> str:
    held = dict(_tensors(part))
    if not {"weight"} <= held.keys() <= {"weight", "bias"} or next(part.children(), None) is not None:
        return "it holds something else than a weight and a bias"
    if any(type(tensor) is not nn.Parameter for tensor in held.values()):
        return "its tensors are of a kind of their own"
    if any(tensor.is_meta for tensor in held.values()):
        return "its tensors are on the meta device, without values"
    weight = part.weight
    if not weight.is_floating_point() or not weight.numel():
        return f"its weights are {list(weight.shape)} of {str(weight.dtype).removeprefix('torch.')}"
    for own, tensor in held.items():
        others = [other for other in owners[_memory(tensor)] if other != f"{name}.{own}"]
        if others:
            return f"its {own} is tied: it shares memory with {others[0]}"
    return ""
