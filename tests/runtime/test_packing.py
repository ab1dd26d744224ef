"""Packed weights: made once, anew after a change, never in the way of a graph, and not before they are there."""

from __future__ import annotations

import gc
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from pathlift.runtime.packing import _PACKED, packed


class Packer:
    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, *factors: Tensor) -> tuple[Tensor, ...]:
        self.calls += 1
        return tuple(factor * 2 for factor in factors)


def test_weights_are_packed_anew_after_a_change_in_place() -> None:
    w, pack = torch.ones(2), Packer()
    assert packed([w], "k", pack)[0] is packed([w], "k", pack)[0]
    w[0] = 5
    assert packed([w], "k", pack)[0].tolist() == [10, 2]
    w.data = torch.zeros(2)
    assert packed([w], "k", pack)[0].tolist() == [0, 0]
    assert pack.calls == 3
    assert packed([w], "other", pack)[0] is not packed([w], "k", pack)[0]


def test_each_of_several_factors_counts() -> None:
    v, w, pack = torch.ones(1), torch.ones(1), Packer()
    packed([v, w], "k", pack)
    w += 1
    assert packed([v, w], "k", pack)[1].tolist() == [4]
    packed([v, torch.ones(1)], "k", pack)
    assert len(_PACKED[v]) == 2
    w = torch.full((1,), 7.0)  # perhaps where the old one was
    gc.collect()
    assert packed([v, w], "k", pack)[1].tolist() == [14]
    assert len(_PACKED[v]) == 1, "what belonged to factors that are gone, is gone"
    assert pack.calls == 4


def test_weights_do_not_keep_their_factor_alive() -> None:
    held, w = len(_PACKED), torch.ones(2)
    (weights,) = packed([w], "k", lambda factor: (factor,))
    assert weights.data_ptr() == w.data_ptr()
    del w
    gc.collect()
    assert len(_PACKED) == held


def test_inference_tensors_tell_no_versions() -> None:
    pack = Packer()
    with torch.inference_mode():
        w = torch.ones(1)
        for _ in range(2):
            w += 1
            assert packed([w], "k", pack)[0].tolist() == [2 * float(w)]
        frozen = [packed([w], "k", pack, frozen=True)[0] for _ in range(2)]
    assert frozen[0] is frozen[1]
    assert pack.calls == 3


class OnCuda(Tensor):
    """A tensor that says that it is on a CUDA device."""

    is_cuda = True  # type: ignore[assignment]  # a property of tensors

    def record_stream(self, stream: Any) -> None:
        stream.seen.append("held")


class Stream:
    def __init__(self) -> None:
        self.seen: list[Any] = []

    def record_event(self) -> Any:
        self.seen.append("recorded")
        return self

    def wait_event(self, event: Any) -> None:
        self.seen.append(event)


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    state: dict[str, Any] = {"stream": Stream(), "capturing": False}
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device=None: state["stream"])
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: state["capturing"])
    return state


def test_another_stream_waits_for_weights_and_holds_their_memory(cuda: dict[str, Any]) -> None:
    w, pack, first = torch.ones(1).as_subclass(OnCuda), Packer(), cuda["stream"]
    packed([w], "k", pack)
    packed([w], "k", pack)
    assert first.seen == ["recorded"]
    cuda["stream"] = Stream()
    packed([w], "k", pack)
    assert cuda["stream"].seen == [first, "held"]
    assert pack.calls == 1


def test_a_graph_packs_what_may_change_and_keeps_no_weights(cuda: dict[str, Any]) -> None:
    w, pack = torch.ones(1).as_subclass(OnCuda), Packer()
    before = packed([w], "k", pack)
    cuda["capturing"] = True
    assert packed([w], "k", pack) is not before, "a replay reads the factor as it is then"
    first, second = (packed([w], "k", pack, frozen=True) for _ in range(2))
    assert first is not second, "there are no values before the graph is replayed"
    cuda["capturing"] = False
    frozen = packed([w], "k", pack, frozen=True)
    cuda["capturing"] = True
    assert packed([w], "k", pack, frozen=True) is frozen
    assert packed([w], "k", pack) is not before


def test_memory_that_is_given_out_again_is_another() -> None:
    """An address and a count of versions may both be as before, where a tensor's data was exchanged."""
    memory, pack = np.ones(2, np.float32), Packer()
    w = torch.nn.Parameter(torch.from_numpy(memory))
    packed([w], "k", pack)
    before = w.data_ptr(), w._version
    w.data = torch.zeros(2)
    memory[:] = 3
    w.data = torch.from_numpy(memory)
    assert (w.data_ptr(), w._version) == before
    assert packed([w], "k", pack)[0].tolist() == [6, 6]


def test_conversions_there_and_back_are_seen() -> None:
    module, pack = torch.nn.Linear(64, 64), Packer()
    packed([module.weight], "k", pack)
    module.half().float()
    assert torch.equal(packed([module.weight], "k", pack)[0], 2 * module.weight)
