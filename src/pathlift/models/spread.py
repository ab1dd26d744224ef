"""Work spread over processes or machines by Dask: a map whose parts survive the loss of workers.

Nothing here knows what the work is. It goes out as bytes, once to each worker, and so do its items, a few for each
worker at a time, so that the scheduler never holds all of them; results come back as bytes, under the number of their
item, and are taken once.
"""

from __future__ import annotations

import functools
import itertools
import logging
import pickle
import queue
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar

from pathlift.ir.errors import ExecutionError, UsageError
from pathlift.ir.stages import stage
from pathlift.ir.work import Map, in_turn
from pathlift.models import parse

if TYPE_CHECKING:
    from distributed import Client, Future

T = TypeVar("T")
R = TypeVar("R")

PATIENCE = 5.0
"""Seconds in which a scheduler has to answer, and to have a worker."""
LEFT_OUT = frozenset({"PL0943", "PL0944"})
"""Codes of errors of the map, not of its work: what came before them stands, the rest was left out."""
_LOST = 30.0
"""Seconds without any worker after which a cluster counts as lost; the local one restarts its own in two or three."""
_START = 60.0
"""Seconds in which processes on this machine have to start."""
_TICK = 1.0
_AHEAD = 2
"""Items sent out for each thread of a worker: one at work, and one that waits, so that none is idle."""
_ALIKE = ("python", "dask", "distributed", "cloudpickle", "numpy", "torch", "pathlift")
"""What has to be the same everywhere: what pickles are read by, and what figures depend on."""
_QUIET = {
    "distributed.admin.large-graph-warning-threshold": "1 TiB",
    "distributed.scheduler.http.routes": [],
    "distributed.worker.http.routes": [],
    "distributed.worker.profile.enabled": False,
}


@contextmanager
def spread(cluster: int | str | None = None) -> Iterator[Map]:
    """Yield a map, and close at the end what it runs on.

    Parameters
    ----------
    cluster
        How many processes to start on this machine, with one thread each; or the address of a Dask scheduler, as
        ``tcp://host:8786``, which is left running; ``None`` maps in this process.

    Yields
    ------
    Map
        Its results come in the order in which they end. What the work raises is raised from it, and nothing more is
        sent out. It raises `ExecutionError` where work is left undone: at once if the cluster is lost (PL0943), and
        after all others are done if some items were given up, since worker after worker died of them (PL0944).

    Raises
    ------
    UsageError
        If `cluster` is neither, no scheduler answers, it has no workers, or they have other versions.
    ExecutionError
        If processes cannot be started.
    """
    cluster = parse.cluster(cluster)
    if cluster is None:
        yield in_turn
        return
    import dask
    from distributed.utils import silence_logging_cmgr

    with ExitStack() as stack:
        stack.enter_context(dask.config.set(_QUIET))
        stack.enter_context(silence_logging_cmgr(logging.CRITICAL))
        with stage("starting workers" if isinstance(cluster, int) else f"connecting to {cluster}"):
            client = stack.enter_context(_local(cluster) if isinstance(cluster, int) else _remote(cluster))
            check_alike(client.get_versions(packages=list(_ALIKE[1:])))

        def spread_map(work: Callable[[T], R], items: Iterable[T], /) -> Iterator[tuple[int, R]]:
            return _mapped(client, work, items)

        yield spread_map


@contextmanager
def _local(count: int) -> Iterator[Client]:
    """Start processes, reachable from this machine alone, which keep their files in a folder that goes away."""
    from distributed import Client, LocalCluster

    with tempfile.TemporaryDirectory(prefix="pathlift-", ignore_cleanup_errors=True) as folder:
        try:
            cluster = LocalCluster(
                n_workers=count, threads_per_worker=1, processes=True, host="127.0.0.1", local_directory=folder,
                dashboard_address="127.0.0.1:0", scheduler_kwargs={"dashboard": False}, memory_limit=None,
                silence_logs=logging.CRITICAL,
            )  # fmt: skip
        except Exception as error:
            hint = "in a script, what calls this has to be under if __name__ == '__main__'"
            raise ExecutionError("0942", f"{count} workers could not be started: {error}", hint=hint) from error
        with cluster, Client(cluster, set_as_default=False, timeout=_START) as client:
            yield client


@contextmanager
def _remote(address: str) -> Iterator[Client]:
    """Connect to a scheduler that has workers."""
    from distributed import Client

    try:
        _reach(address)
        client = Client(address, set_as_default=False, timeout=PATIENCE)
    except Exception as error:  # what answers there may be anything
        raise UsageError(
            "1521",
            f"no Dask scheduler answers at {address}",
            hint="`dask scheduler` starts one, and prints its address",
        ) from error
    with client:
        try:
            client.wait_for_workers(1, timeout=PATIENCE)
        except TimeoutError as error:
            hint = f"`dask worker {address}` starts one"
            raise UsageError("1522", f"the scheduler at {address} has no workers", hint=hint) from error
        yield client


def _reach(address: str) -> None:
    """Shake hands; a client of Dask's own would wait for ever for who accepts a connection and says nothing."""
    from distributed.comm import connect
    from distributed.security import Security
    from distributed.utils import LoopRunner, sync

    async def shake_hands() -> None:
        comm = await connect(address, timeout=PATIENCE, **Security().get_connection_args("client"))
        await comm.close()

    runner = LoopRunner()
    runner.start()
    try:
        sync(runner.loop, shake_hands, callback_timeout=PATIENCE)
    finally:
        runner.stop()


def check_alike(versions: Mapping[str, Any]) -> None:
    """Check that all processes have the versions that this one has.

    Parameters
    ----------
    versions
        As ``Client.get_versions`` returns them.

    Raises
    ------
    UsageError
        If one has not.
    """
    ours = _packages(versions["client"])
    others = {"the scheduler": versions["scheduler"]} | {f"worker {a}": v for a, v in versions["workers"].items()}
    for who, told in others.items():
        for name, theirs in _packages(told).items():
            if theirs != ours[name]:
                found, wanted = theirs or "(none)", ours[name] or "(none)"
                hint = "install the same versions everywhere"
                raise UsageError("1523", f"{who} has {name} {found}, and here it is {wanted}", hint=hint)


def _packages(told: Mapping[str, Any]) -> dict[str, str]:
    """Return versions by name: Python's up to the minor, others without what is said of how they were built."""
    found = {name: str(told["packages"].get(name) or "").partition("+")[0] for name in _ALIKE}
    return found | {"python": ".".join(found["python"].split(".")[:2])}


def _mapped(client: Client, work: Callable[[T], R], items: Iterable[T]) -> Iterator[tuple[int, R]]:
    from distributed import KilledWorker
    from distributed.client import FutureCancelledError

    ended: queue.SimpleQueue[int] = queue.SimpleQueue()
    open_: dict[int, Future] = {}
    numbered = enumerate(items)
    shared = _everywhere(client, _packed(work))
    sent, given_up, seen = 0, 0, time.monotonic()  # when a worker was last known to be there
    try:
        while True:
            room = _AHEAD * max(1, _threads(client)) - len(open_)
            for number, item in itertools.islice(numbered, max(0, room)):
                open_[number] = client.submit(run_packed, shared, _packed(item), pure=False)
                open_[number].add_done_callback(lambda _, number=number: ended.put(number))
                sent += 1
            if not open_:
                break
            try:
                number = ended.get(timeout=_TICK)
            except queue.Empty:
                seen = time.monotonic() if _threads(client) else seen
                if time.monotonic() - seen > _LOST:
                    raise _lost("it has had no worker for a while") from None
                continue
            future = open_.pop(number, None)
            if future is None:  # it ended before, and its worker was lost in between
                continue
            try:
                result = pickle.loads(future.result())
            except KilledWorker:
                given_up += 1
                continue
            except FutureCancelledError as error:
                raise _lost("the connection to its scheduler broke") from error
            yield number, result
    finally:
        with suppress(Exception):  # nobody may be there any more
            client.cancel([shared, *open_.values()])
    if given_up:
        raise ExecutionError(
            "0944", f"{given_up} of {sent} parts were given up: each worker that took them died",
            hint="most often of too little memory: let fewer share a machine",
        )  # fmt: skip


def _everywhere(client: Client, packed: bytes) -> Future:
    """Put bytes on every worker; as the result of a task, so that they come back where all who held them are lost."""
    future, done = client.submit(bytes, packed, pure=False), threading.Event()
    future.add_done_callback(lambda _: done.set())
    if not done.wait(_LOST):
        raise _lost("it has had no worker for a while")
    try:
        client.replicate([future])  # else whoever has them is sent all items
    except OSError as error:
        raise _lost("its scheduler does not answer") from error
    return future


def _threads(client: Client) -> int:
    """Return how many threads the workers have between them."""
    try:
        return int(sum(client.nthreads().values()))
    except (OSError, AttributeError) as error:  # the latter of a client that is connecting again
        raise _lost("its scheduler does not answer") from error


def _lost(reason: str) -> ExecutionError:
    return ExecutionError("0943", f"the cluster was lost: {reason}")


def _packed(what: object) -> bytes:
    """Return it as bytes: what it is refused for is told before it is sent."""
    import cloudpickle

    try:
        packed: bytes = cloudpickle.dumps(what)
    except Exception as error:
        raise UsageError("1524", f"the work cannot be sent to workers: {error}") from error
    return packed


@functools.lru_cache(1)
def _unpacked(work: bytes) -> Callable[[Any], object]:
    """Return the work, which is unpacked once for all of its items."""
    found: Callable[[Any], object] = pickle.loads(work)
    return found


def run_packed(work: bytes, item: bytes) -> bytes:
    """Do the work for an item, both packed, with one thread; return the result packed.

    Raises
    ------
    Exception
        What the work raises.
    """
    do, given = _unpacked(work), pickle.loads(item)
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)  # a worker has as many tasks at once as it is to use cores
    return pickle.dumps(do(given), protocol=pickle.HIGHEST_PROTOCOL)
