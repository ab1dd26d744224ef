"""CUDA graphs on a device that is pretended: a graph re-executes what was recorded, on the same memory."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from pathlift.runtime.executors import capture

if TYPE_CHECKING:
    import pytest


class Stream:
    """A stream, whose waits are logged."""

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
    """An event, whose records are logged."""

    stream = ""

    def record(self, stream: Stream) -> None:
        self.stream = stream.name
        stream.cuda.log.append(("record", stream.name))

    def synchronize(self) -> None:
        pass


class Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch has no types for it
    """What collects operations while they run."""

    def __init__(self, ops: list[Any]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch has no types for it
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
