"""Runs as CUDA graphs, on a device that is pretended: a graph re-executes what was recorded, on the same memory."""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from pathlift.ir.errors import UnsafeModelError
from pathlift.models.source import open_model
from pathlift.runtime.executors import capture
from pathlift.runtime.executors.capture import MOST_GRAPHS, Replays
from pathlift.runtime.executors.torch import TorchExecutor
from pathlift.testing import sample

CPU = torch.device("cpu")


class Stream:
    def __init__(self, cuda: Cuda, name: str) -> None:
        self.cuda, self.name = cuda, name

    def wait_event(self, event: Event) -> None:
        self.cuda.log.append(("wait", self.name, event.stream))

    def wait_stream(self, other: Stream) -> None:
        self.cuda.log.append(("wait", self.name, other.name))

    def record_event(self) -> Event:
        event = Event()
        event.record(self)
        return event


class Event:
    stream = ""

    def record(self, stream: Stream) -> None:
        self.stream = stream.name
        stream.cuda.log.append(("record", stream.name))

    def synchronize(self) -> None:
        pass


class Recorder(TorchDispatchMode):
    def __init__(self, ops: list[Any]) -> None:
        super().__init__()
        self.ops = ops

    def __torch_dispatch__(self, f: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        y = f(*args, **(kwargs or {}))
        self.ops.append((f, args, kwargs or {}, y))
        return y


class Graph:
    """Operations, with the tensors that they read and wrote when they were recorded."""

    def __init__(self, cuda: Cuda) -> None:
        self.cuda, self.ops = cuda, list[Any]()
        cuda.graphs.append(self)

    def replay(self) -> None:
        self.cuda.log.append(("replay", self.cuda.current.name))
        time.sleep(self.cuda.pause)
        with torch.inference_mode():
            for f, args, kwargs, y in self.ops:
                new = f(*args, **kwargs)
                read = {x.untyped_storage().data_ptr() for x in tree_leaves(args) if isinstance(x, Tensor)}
                for old, value in zip(tree_leaves(y), tree_leaves(new), strict=True):
                    if old.untyped_storage().data_ptr() not in read:  # no view, nor written in place
                        old.copy_(value)


class Cuda:
    """What of `torch.cuda` is used."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.log, self.graphs, self.pause = list[Any](), list[Graph](), 0.0
        self.current, self.capturing, self.emptied = Stream(self, "main"), False, 0
        self.streams = itertools.count(1)
        capture._turns.cache_clear()
        for name, value in {
            "Stream": lambda device=None: Stream(self, f"side {next(self.streams)}"),
            "Event": Event,
            "current_stream": lambda device=None: self.current,
            "stream": self.stream,
            "device": lambda device: contextlib.nullcontext(),
            "is_current_stream_capturing": lambda: self.capturing,
            "CUDAGraph": lambda: Graph(self),
            "graph": self.graph,
            "empty_cache": self.empty,
        }.items():
            monkeypatch.setattr(torch.cuda, name, value)

    def empty(self) -> None:
        self.emptied += 1

    @contextlib.contextmanager
    def stream(self, stream: Stream) -> Iterator[None]:
        before, self.current = self.current, stream
        try:
            yield
        finally:
            self.current = before

    @contextlib.contextmanager
    def graph(self, graph: Graph, stream: Stream, capture_error_mode: str) -> Iterator[None]:
        """Like torch's: what ends a recording that has failed fails, and leaves its stream the current one."""
        assert (stream.name, capture_error_mode) == ("side 2", "thread_local")
        self.current, self.capturing = stream, True
        try:
            with Recorder(graph.ops):
                yield
        except Exception as error:
            raise RuntimeError("CUDA error: operation failed due to a previous error during capture") from error
        finally:
            self.capturing = False


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
