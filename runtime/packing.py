"""Weights as kernels read them, made once for every factor, as long as it lives and stays what it is."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils.weak import WeakIdKeyDictionary, WeakIdRef

Pack = Callable[..., tuple[Tensor, ...]]
_State = tuple[tuple[int, int, StorageWeakRef], ...] | None
"""Of each factor the count of its versions, where it begins, and its memory. An address alone does not tell: memory
that was given back is given out again. One that is referred to, if weakly, keeps its identity."""


@dataclass
class _Packed:
    """Weights of factors, the first of which is the key to this.

    Parameters
    ----------
    others
        The other factors, which this does not keep alive, either.
    state
        Of all factors when they were packed; ``None`` if they never change.
    weights
        What was packed.
    """

    others: tuple[WeakIdRef, ...]
    state: _State
    weights: tuple[Tensor, ...]
    _stream: Any = field(init=False, default=None)
    _event: Any = field(init=False, default=None)

    def __post_init__(self) -> None:
        if self.weights[0].is_cuda:
            self._stream = torch.cuda.current_stream(self.weights[0].device)
            self._event = self._stream.record_event()

    def is_of(self, first: Tensor) -> bool:
        """Whether the factors are still there, and as they were."""
        factors = [first, *(other() for other in self.others)]
        alive = [factor for factor in factors if factor is not None]
        return len(alive) == len(factors) and (self.state is None or self.state == _state(alive))

    def wait(self) -> None:
        """Let the current stream, if it is another than that which packed, wait for the weights, and hold them."""
        if self._stream is None or _capturing(self.weights[0]):
            return  # nothing is recorded before all streams have come to rest
        current = torch.cuda.current_stream(self.weights[0].device)
        if current != self._stream:
            current.wait_event(self._event)
            for weights in self.weights:
                weights.record_stream(current)


_PACKED = WeakIdKeyDictionary()
_LOCK = threading.RLock()


def packed(factors: Sequence[Tensor], kind: str, pack: Pack, *, frozen: bool = False) -> tuple[Tensor, ...]:
    """Return weights that were packed before, or pack them.

    Weights are kept for a factor as long as it lives, which they do not prolong. A change in place is seen by torch's
    count of versions. What torch does not count, it does not see: writing through ``.data``, or to the memory of an
    array that a tensor shares. Inference tensors have no count: they are packed each time, unless they are frozen.
    While a stream is captured in a CUDA graph, what is not frozen is packed within the graph, which reads the factors
    anew whenever it is replayed.

    Parameters
    ----------
    factors
        Non-zeros, (a, d, b, c) each.
    kind
        Tells one way of packing from another.
    pack
        Makes weights of factors.
    frozen
        Whether factors never change: nobody looks.
    """
    capturing = _capturing(factors[0])
    if not frozen and (capturing or any(factor.is_inference() for factor in factors)):
        return pack(*factors)
    first, others = factors[0], factors[1:]
    key = (kind, frozen, *map(id, others))
    with _LOCK:
        if first not in _PACKED:
            _PACKED[first] = {}
        held: dict[Any, _Packed] = _PACKED[first]
        found = held.get(key)
        if found is None or not found.is_of(first):
            # Views: weights that lie as they are would else keep alive the very tensor that is their key.
            weights = pack(*(factor.detach() for factor in factors))
            if capturing:  # there are no values before the graph is replayed
                return weights
            for name in [name for name, entry in held.items() if not entry.is_of(first)]:
                del held[name]
            state = None if frozen else _state(factors)
            found = held[key] = _Packed(tuple(map(WeakIdRef, others)), state, weights)
    found.wait()
    return found.weights


def _state(factors: Sequence[Tensor]) -> _State:
    return tuple((factor._version, factor.data_ptr(), _memory(factor)) for factor in factors)


def _memory(x: Tensor) -> StorageWeakRef:
    return StorageWeakRef(x.untyped_storage())  # type: ignore[no-untyped-call]  # torch's own


def _capturing(x: Tensor) -> bool:
    return x.is_cuda and torch.cuda.is_current_stream_capturing()
