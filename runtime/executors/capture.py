"""Runs as CUDA graphs: recorded once for every shape of the inputs, and replayed with one launch.

A graph replays the same kernels on the same addresses. Its inputs are static: what is fed is copied there; what comes
out is copied, so that results are the caller's own. Everything between has its place in the graph's private memory,
which torch's allocator assigned while the run was recorded: since the interpreter drops each value after its last use
(`pathlift.ir.algebras.interpret.walk`), values that do not live at the same time share addresses.

A graph belongs to the exact shapes and types of its inputs. A smaller batch is not padded to fit a larger graph:
models may mix samples (a normalization over the batch, a reduction), and would compute something else. Settings of
torch (precision of products, deterministic algorithms) are those of the time when it was recorded.
"""

from __future__ import annotations

import functools
import threading
import traceback
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import suppress

import torch
from torch import Tensor

from pathlift.ir.errors import PathliftError
from pathlift.ir.foreign import FAILURES, is_out_of_memory

MOST_GRAPHS = 8
"""That are held at a time; the one that was not used for longest makes room."""
Compute = Callable[[Mapping[str, Tensor]], dict[str, Tensor]]
_Key = tuple[tuple[str, tuple[int, ...], torch.dtype], ...]

_RECORDING = threading.Lock()
"""A process records one graph at a time."""


class _Turns:
    """Who is next on a device, and streams to prepare on and to record on.

    Graphs that were recorded on one stream share a workspace of cuBLAS, which is kept for each stream. So all graphs of
    a device take turns, those of several sessions, too. What comes first runs on a stream, and in a workspace, of its
    own.
    """

    def __init__(self, device: torch.device) -> None:
        self.lock = threading.Lock()
        self.warming = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]  # torch's own
        self.recording = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]  # torch's own
        self.done = torch.cuda.Event()  # type: ignore[no-untyped-call]  # as above

    def wait(self) -> torch.cuda.Stream:
        """Let the current stream wait for what was replayed last, and return it."""
        current = torch.cuda.current_stream()
        current.wait_event(self.done)
        return current


@functools.lru_cache(maxsize=64)
def _turns(device: torch.device) -> _Turns:
    return _Turns(device)


class Replays:
    """A computation on one CUDA device, recorded when it meets new shapes, and replayed.

    Several threads, each with a stream of its own, may run it: they take turns, and each stream waits for what was
    queued before, on whichever stream. What cannot be recorded runs as it is, from the first failure on.

    Parameters
    ----------
    compute
        Makes outputs by name of inputs by name, all on the device; called without gradients.
    device
        Where.
    refusal
        Why it cannot be recorded, where that is known; empty to try.
    """

    def __init__(self, compute: Compute, device: torch.device, *, refusal: str = "") -> None:
        self._compute, self._device, self._refusal = compute, device, refusal
        self._graphs: OrderedDict[_Key, _Recorded | None] = OrderedDict()  # None: no memory for a graph

    @property
    def remarks(self) -> tuple[str, ...]:
        """Why nothing is recorded, if so."""
        return (f"runs are not captured in a CUDA graph: {self._refusal}",) if self._refusal else ()

    def run(self, feeds: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Compute, on the current stream.

        Parameters
        ----------
        feeds
            Inputs by name.

        Returns
        -------
        dict
            By name. What is replayed has memory of its own; what runs as it is may share memory with inputs.

        Raises
        ------
        RuntimeError
            As torch does, also where memory runs out; then all graphs are dropped, and the next run starts afresh.
        """
        # Whatever the caller's mode: a graph's inputs are written to in any later one, and carry no gradients.
        with torch.inference_mode(False), torch.no_grad(), torch.cuda.device(self._device):
            within = torch.cuda.is_current_stream_capturing()  # in a graph of the caller's
            if self._refusal or within or not all(x.numel() for x in feeds.values()):
                return self._eagerly(feeds)
            with _turns(self._device).lock:
                recorded = self._recorded(feeds)
                if recorded is not None:
                    return recorded.replay(feeds)
            return self._eagerly(feeds)

    def _eagerly(self, feeds: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Run as it is; where memory runs out over graphs that are held, without them."""
        try:
            return self._compute(feeds)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            failure = error
        with _turns(self._device).lock:
            held = any(self._graphs.values())
            self._drop(failure)
        if held:
            return self._compute(feeds)
        raise failure

    def _recorded(self, feeds: Mapping[str, Tensor]) -> _Recorded | None:
        """The graph for such inputs, which may have to be recorded first; ``None`` if they run as they are."""
        key = tuple(sorted(((name, tuple(x.shape), x.dtype) for name, x in feeds.items()), key=lambda port: port[0]))
        if key in self._graphs:
            self._graphs.move_to_end(key)
            return self._graphs[key]
        made: _Recorded | None = None
        try:
            made = _Recorded(self._compute, feeds, _turns(self._device))
        except _UnfitError as error:
            failure: Exception = error
            self._refusal = str(error)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            failure = error
        if made is None:
            self._drop(failure)
        self._keep(key, made)
        return made

    def _keep(self, key: _Key, made: _Recorded | None) -> None:
        self._graphs[key] = made
        if len(self._graphs) > MOST_GRAPHS:
            self._graphs.popitem(last=False)

    def _drop(self, failure: BaseException | None) -> None:
        """Give all memory back: that of graphs, and what was computed up to a failure."""
        while failure is not None:
            traceback.clear_frames(failure.__traceback__)
            failure = failure.__context__
        self._graphs.clear()
        torch.cuda.empty_cache()


class _UnfitError(Exception):
    """A computation, which runs, cannot be recorded."""


class _Recorded:
    """One graph.

    Parameters
    ----------
    compute
        What is recorded.
    feeds
        Inputs, for their shapes and for the run that comes first: it compiles kernels and packs weights, which a graph
        cannot hold.
    turns
        Those of the device; it is this one's.
    """

    def __init__(self, compute: Compute, feeds: Mapping[str, Tensor], turns: _Turns) -> None:
        self._turns = turns
        self._inputs = {name: torch.empty(x.shape, dtype=x.dtype, device=x.device) for name, x in feeds.items()}
        for name, x in feeds.items():
            self._inputs[name].copy_(x)
        current = torch.cuda.current_stream()
        turns.warming.wait_stream(current)
        try:
            with torch.cuda.stream(turns.warming):
                compute(self._inputs)
        finally:
            current.wait_stream(turns.warming)
        # torch.cuda.graph leaves its stream the current one where recording fails; the context around it does not.
        with _RECORDING, torch.cuda.stream(turns.recording):
            self._record(compute)

    def _record(self, compute: Compute) -> None:
        self._graph = torch.cuda.CUDAGraph()
        try:
            # Only what this thread does must be fit for a graph; other threads may go on.
            with torch.cuda.graph(self._graph, stream=self._turns.recording, capture_error_mode="thread_local"):
                self._outputs = compute(self._inputs)
        except (*FAILURES, PathliftError) as error:
            first: BaseException = error  # the end of a recording that has failed fails, too
            while first.__context__ is not None:
                first = first.__context__
            if isinstance(first, Exception) and is_out_of_memory(first):
                raise torch.OutOfMemoryError(str(first)) from error
            raise _UnfitError((str(first).strip() or type(first).__name__).splitlines()[0]) from error

    def replay(self, feeds: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Compute, on the current stream, after all that was replayed before."""
        current = self._turns.wait()
        for name, x in feeds.items():
            self._inputs[name].copy_(x)
        self._graph.replay()
        found = {name: y.clone() for name, y in self._outputs.items()}
        self._turns.done.record(current)
        return found

    def __del__(self) -> None:
        """Let what is queued end before its memory goes."""
        with suppress(Exception):  # the process ends
            self._turns.done.synchronize()
