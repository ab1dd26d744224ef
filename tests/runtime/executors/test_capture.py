"""Runs as CUDA graphs, on a device that is pretended."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from pathlift.ir.errors import UnsafeModelError
from pathlift.models.source import open_model
from pathlift.runtime.executors.capture import MOST_GRAPHS, Replays
from pathlift.runtime.executors.torch import TorchExecutor
from pathlift.testing import sample
from pathlift.testing.cuda import Cuda, Event, Stream

CPU = torch.device("cpu")


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> Cuda:
    return Cuda(monkeypatch)


def doubled(feeds: Mapping[str, Tensor]) -> dict[str, Tensor]:
    with torch.inference_mode():
        return {"y": feeds["x"] * 2}


def replays(compute: Callable[[Mapping[str, Tensor]], dict[str, Tensor]] = doubled) -> Replays:
    return Replays(compute, CPU)


def test_a_model_is_recorded_once_for_every_shape(cuda: Cuda, digits: Path) -> None:
    executor, plain = (TorchExecutor(open_model(digits).graph) for _ in range(2))
    executor._replays = Replays(executor._computed, CPU)
    rng = np.random.default_rng(0)
    for count in (3, 3, 2, 3):
        x = rng.standard_normal((count, 1, 8, 8), dtype=np.float32)
        expected, found = plain.run({"image": x})["logits"], executor.run({"image": x})["logits"]
        torch.testing.assert_close(found, expected)
        assert not found.is_inference()
    assert len(cuda.graphs) == 2
    assert [entry for entry in cuda.log if entry[0] == "replay"] == [("replay", "main")] * 4
    assert executor.remarks == ()


def test_types_tell_graphs_apart(cuda: Cuda) -> None:
    double = replays()
    for x in (torch.tensor([1.5]), torch.tensor([3]), torch.tensor([2.5])):
        y = double.run({"x": x})["y"]
        assert (y.dtype, y.tolist()) == (x.dtype, (x * 2).tolist())
    assert len(cuda.graphs) == 2


def test_results_have_memory_of_their_own(cuda: Cuda) -> None:
    double = replays()
    first = double.run({"x": torch.tensor([1.0])})["y"]
    second = double.run({"x": torch.tensor([5.0])})["y"]
    assert (first.tolist(), second.tolist()) == ([2], [10])
    second += 1
    assert double.run({"x": torch.tensor([5.0])})["y"].tolist() == [10]
    same = replays(lambda feeds: {"x": feeds["x"], "y": feeds["x"]})
    x = torch.tensor([1.0])
    for y in same.run({"x": x}).values():
        y += 1
        assert y.tolist() == [2]


def test_the_mode_of_the_caller_does_not_matter(cuda: Cuda) -> None:
    """Neither that of the first run, of which a graph keeps inputs, nor gradients, whose history would grow."""
    double = replays()
    with torch.inference_mode():
        double.run({"x": torch.tensor([1.0])})
    for value in (5.0, 6.0):
        y = double.run({"x": torch.tensor([value], requires_grad=True)})["y"]
        assert (y.tolist(), y.requires_grad, y.is_inference()) == ([2 * value], False, False)
    (recorded,) = double._graphs.values()
    assert recorded is not None
    assert not recorded._inputs["x"].requires_grad


class Log(TorchDispatchMode):
    def __init__(self, cuda: Cuda) -> None:
        super().__init__()
        self.cuda = cuda

    def __torch_dispatch__(self, f: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.cuda.log.append((f.overloadpacket.__name__, self.cuda.current.name))
        return f(*args, **(kwargs or {}))


def test_a_stream_waits_for_the_one_before_it(cuda: Cuda) -> None:
    first, second, x = replays(), replays(), torch.tensor([1.0])
    for double in (first, second):
        double.run({"x": x})
    for graph in cuda.graphs:
        graph.ops.clear()  # what is replayed is no part of the log
    for double, before, name in ((first, "main", "second"), (second, "second", "third"), (second, "third", "main")):
        cuda.current = Stream(cuda, name)
        cuda.log.clear()
        with Log(cuda):
            double.run({"x": x})
        assert cuda.log == [
            ("wait", name, before), ("copy_", name), ("replay", name), ("clone", name), ("record", name)
        ]  # fmt: skip


def test_recording_waits_and_is_waited_for(cuda: Cuda) -> None:
    with Log(cuda):
        replays().run({"x": torch.tensor([1.0])})
    names = [entry[:2] for entry in cuda.log]
    copied, warm, recorded = (names.index(name) for name in (("copy_", "main"), ("mul", "side 1"), ("mul", "side 2")))
    assert copied < names.index(("wait", "side 1")) < warm < names.index(("wait", "main")) < recorded
    assert cuda.log[names.index(("wait", "side 1"))] == ("wait", "side 1", "main")
    assert cuda.log[names.index(("wait", "main"))] == ("wait", "main", "side 1")


def test_threads_take_turns(cuda: Cuda) -> None:
    double, found = replays(), dict[int, list[float]]()
    double.run({"x": torch.zeros(1)})
    cuda.pause = 0.02

    def work(i: int) -> None:
        for _ in range(3):
            found[i] = double.run({"x": torch.full((1,), float(i))})["y"].tolist()

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {i: [2.0 * i] for i in range(4)}


def test_few_graphs_are_held(cuda: Cuda) -> None:
    double = replays()
    for n in range(1, MOST_GRAPHS + 2):
        double.run({"x": torch.ones(n)})
        double.run({"x": torch.ones(1)})
    assert len(double._graphs) == MOST_GRAPHS
    assert len(cuda.graphs) == MOST_GRAPHS + 1, "the one in use stays"
    double.run({"x": torch.ones(2)})
    assert len(cuda.graphs) == MOST_GRAPHS + 2


def test_nothing_is_recorded_for_empty_inputs_or_within_a_graph_of_the_callers(cuda: Cuda) -> None:
    double = replays()
    assert double.run({"x": torch.ones(0)})["y"].shape == (0,)
    cuda.capturing = True
    assert double.run({"x": torch.ones(1)})["y"].tolist() == [2]
    assert (cuda.graphs, double.remarks) == ([], ())


def test_what_reads_values_back_runs_as_it_is(cuda: Cuda) -> None:
    def compute(feeds: Mapping[str, Tensor]) -> dict[str, Tensor]:
        if cuda.capturing:
            raise RuntimeError("operation not permitted when stream is capturing\nmore")
        return doubled(feeds)

    double = replays(compute)
    for value in (1.0, 2.0):
        assert double.run({"x": torch.tensor([value])})["y"].tolist() == [2 * value]
    assert len(cuda.graphs) == 1
    assert double.remarks == (
        "runs are not captured in a CUDA graph: operation not permitted when stream is capturing",
    )
    assert cuda.current.name == "main"


def test_inputs_that_a_model_fails_on_say_nothing_of_others(cuda: Cuda) -> None:
    def compute(feeds: Mapping[str, Tensor]) -> dict[str, Tensor]:
        if len(feeds["x"]) == 3:
            raise IndexError("out of range")
        return doubled(feeds)

    double = replays(compute)
    with pytest.raises(IndexError):
        double.run({"x": torch.ones(3)})
    assert double.run({"x": torch.ones(2)})["y"].tolist() == [2, 2]
    assert (len(cuda.graphs), double.remarks) == (1, ())
    assert cuda.log[:2].count(("wait", "main", "side 1")) == 1, "what had begun ends before its memory is used again"


class Memory:
    """Room for so many graphs, and for a run of fewer than ten elements."""

    def __init__(self, cuda: Cuda, graphs: int) -> None:
        self.cuda, self.graphs, self.double = cuda, graphs, Replays(self.compute, CPU)

    def compute(self, feeds: Mapping[str, Tensor]) -> dict[str, Tensor]:
        held = sum(entry is not None for entry in self.double._graphs.values())
        if len(feeds["x"]) > 9 or held > self.graphs or (self.cuda.capturing and held == self.graphs):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return doubled(feeds)


def test_graphs_make_room(cuda: Cuda) -> None:
    memory = Memory(cuda, 1)
    for n in (1, 2, 1, 2):
        assert memory.double.run({"x": torch.ones(n)})["y"].tolist() == [2] * n
    assert cuda.emptied == 1
    assert memory.double.remarks == ()


def test_a_session_is_usable_after_memory_ran_out(cuda: Cuda) -> None:
    memory = Memory(cuda, 2)
    executor = TorchExecutor(sample("Relu"))
    executor._replays = memory.double
    assert memory.double.run({"x": torch.ones(1)})["y"].tolist() == [2]
    with pytest.raises(UnsafeModelError, match="PL0214 cannot run the model: out of memory") as error:
        executor.run({"x": np.ones(10, np.float32)})
    frames = [frame for frame in _frames(error.value.__cause__) if frame.f_code.co_name == "compute"]
    assert [frame.f_locals for frame in frames] == [{}] * len(frames), "values are let go"
    assert cuda.emptied >= 1
    assert not any(memory.double._graphs.values())
    assert memory.double.run({"x": torch.ones(1)})["y"].tolist() == [2]
    assert cuda.current.name == "main"


def _frames(error: BaseException | None) -> Iterator[Any]:
    while error is not None:
        yield from (frame for frame, _ in traceback.walk_tb(error.__traceback__))
        error = error.__context__


def test_what_is_executed_on_the_cpu_is_not_recorded() -> None:
    from pathlift.runtime.executors.torch import _uncapturable

    assert "is executed on the CPU" in _uncapturable(sample("Opaque"))
    assert _uncapturable(sample("Relu")) == ""


def test_memory_goes_when_what_is_queued_has_ended(cuda: Cuda, monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[str] = []
    monkeypatch.setattr(Event, "synchronize", lambda event: ended.append(event.stream))
    double = replays()
    double.run({"x": torch.ones(1)})
    assert ended == []
    del double
    assert ended == ["main"]
