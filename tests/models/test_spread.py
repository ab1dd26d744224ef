"""Work on a cluster: every result once, whatever dies; errors as they were raised; nothing left behind."""

from __future__ import annotations

import importlib
import operator
import os
import re
import signal
import socket
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from pathlift.ir.errors import ExecutionError, UnsupportedError, UsageError
from pathlift.models import spread as spreading
from pathlift.models.spread import check_alike, spread
from pathlift.testing.workers import kill

pytestmark = pytest.mark.timeout(60)
distributed = pytest.importorskip("distributed")

WORKS = '''
import os, signal, sys, time

def slept(item):
    number, seconds = item
    time.sleep(seconds)
    return number

def noted(item):
    """Leave the process's number where the test finds it, and wait to be killed, once."""
    from pathlift.testing.workers import wait_once
    number, folder = item
    if number == 3:
        wait_once(folder)
    with open(os.path.join(folder, f"ran-{number}-{time.monotonic_ns()}"), "w"):
        return {number: number % 5}

def deadly(number):
    if number == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return number

def refusing(number):
    from pathlift.ir.errors import UnsupportedError
    if number == 2:
        raise UnsupportedError("0304", "its weight is dynamic", hint="fold it").at("conv3", "Conv")
    return number

def missing(number):
    if number:
        raise FileNotFoundError(2, "no such file", "x")
    return number

def threads(_):
    import torch
    from distributed import get_worker
    torch.set_num_threads(7)
    return torch.get_num_threads(), get_worker().local_directory, os.getpid()

class Counted:
    """Work that counts how often a process has unpacked it."""
    unpacked = 0

    def __setstate__(self, state):
        Counted.unpacked += 1

    def __getstate__(self):
        return {"large": 1}

    def __call__(self, _):
        time.sleep(0.1)
        return os.getpid(), Counted.unpacked

def settled(_):
    return sys.modules["torch"].get_num_threads()
'''


@pytest.fixture(scope="module")
def works(importable: Path) -> ModuleType:
    (importable / "works_of_a_test.py").write_text(WORKS)
    return importlib.import_module("works_of_a_test")


def gather(
    found: dict[int, Any], results: Iterator[tuple[int, Any]], after: Callable[[], object] = lambda: None
) -> None:
    """Take results as they come, as who keeps what is done; call something after each."""
    for number, result in results:
        assert number not in found
        found[number] = result
        after()


def test_without_a_cluster_items_are_taken_in_turn() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for i in range(3):
            taken.append(i)
            yield i

    with spread(None) as each:
        for number, result in each(operator.neg, items()):
            assert (number, result) == (len(taken) - 1, -taken[-1])
    assert taken == [0, 1, 2]


def test_each_result_once(address: str) -> None:
    with spread(address) as each:
        results = list(each(partial(operator.mul, 3), range(40)))
        assert sorted(results) == [(i, 3 * i) for i in range(40)]
        assert list(each(operator.neg, [])) == []
        assert dict(each(lambda x: x + 1, (1, 2))) == {0: 2, 1: 3}


def test_equal_items_are_done_apart(address: str) -> None:
    with spread(address) as each:
        first, second = (value for _, value in each(lambda _: str(uuid.uuid4()), [0, 0]))
    assert first != second


def test_the_work_goes_to_each_worker_once(address: str, works: ModuleType) -> None:
    with spread(address) as each:
        found = [result for _, result in each(works.Counted(), range(12))]
    assert len({pid for pid, _ in found}) == 2
    assert {unpacked for _, unpacked in found} == {1}


def test_results_come_as_they_end(address: str, works: ModuleType) -> None:
    with spread(address) as each:
        found = [number for number, _ in each(works.slept, [(0, 1.0), (1, 0.0)])]
    assert found == [1, 0]


def test_few_items_are_out_at_a_time(address: str, works: ModuleType) -> None:
    """Items may be large: two for each of two workers, whatever is done and not yet looked at."""
    sent = 0

    def items() -> Iterator[tuple[int, float]]:
        nonlocal sent
        for i in range(30):
            sent += 1
            yield i, 0.0

    with spread(address) as each:
        for done, _ in enumerate(each(works.slept, items())):
            assert sent - done <= 4
    assert sent == 30


def test_a_killed_worker_loses_and_doubles_nothing(address: str, works: ModuleType, tmp_path: Path) -> None:
    killer = threading.Thread(target=kill, args=(tmp_path,))
    killer.start()
    counts, numbers = dict.fromkeys(range(5), 0), []
    with spread(address) as each:
        for number, result in each(works.noted, [(i, str(tmp_path)) for i in range(20)]):
            numbers.append(number)
            for value in result.values():
                counts[value] += 1
    killer.join()
    assert sorted(numbers) == list(range(20))
    assert counts == dict.fromkeys(range(5), 4)


@pytest.mark.slow
def test_what_kills_every_worker_is_given_up_after_all_else(address: str, works: ModuleType) -> None:
    found: dict[int, int] = {}
    with spread(address) as each, pytest.raises(ExecutionError, match="PL0944 1 of 6 parts"):
        gather(found, each(works.deadly, range(6)))
    assert found == {i: i for i in (0, 1, 3, 4, 5)}


def test_errors_arrive_as_they_were(address: str, works: ModuleType) -> None:
    with spread(address) as each:
        with pytest.raises(UnsupportedError, match="PL0304") as caught:
            dict(each(works.refusing, range(6)))
        error = caught.value
        assert str(error) == "PL0304 node 'conv3' (Conv): its weight is dynamic hint: fold it"
        assert (error.node, error.op, error.exit_code) == ("conv3", "Conv", 4)
        with pytest.raises(FileNotFoundError, match="no such file"):  # not taken for a broken connection
            dict(each(works.missing, range(3)))
        assert dict(each(operator.neg, [1])) == {0: -1}


def test_what_cannot_be_sent(address: str) -> None:
    lock = threading.Lock()
    with spread(address) as each:
        with pytest.raises(UsageError, match="PL1524"):
            dict(each(operator.neg, [lock]))
        with pytest.raises(UsageError, match="PL1524"):
            dict(each(lambda _: lock, [0]))


@pytest.mark.slow  # each imports torch
def test_workers_use_one_thread(address: str, works: ModuleType) -> None:
    with spread(address) as each:
        assert {n for n, _, _ in dict(each(works.threads, range(4))).values()} == {7}
        assert set(dict(each(works.settled, range(4))).values()) == {1}


def test_an_interrupt_leaves_what_is_done(address: str, works: ModuleType) -> None:
    found: dict[int, int] = {}

    def interrupted() -> Iterator[tuple[int, float]]:
        yield 0, 0.0
        yield 1, 0.0
        yield 2, 0.0
        yield 3, 0.0
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
        yield 4, 3.0

    with spread(address) as each, pytest.raises(KeyboardInterrupt):
        gather(found, each(works.slept, interrupted()))
    assert found == {0: 0, 1: 1, 2: 2, 3: 3}


@pytest.fixture
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spreading, "PATIENCE", 1.0)


@pytest.mark.usefixtures("_impatient")
def test_who_accepts_and_says_nothing() -> None:
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        begun = time.monotonic()
        with pytest.raises(UsageError, match="PL1521"), spread(f"tcp://127.0.0.1:{mute.getsockname()[1]}"):
            pass
        assert time.monotonic() - begun < spreading.PATIENCE + 5


@pytest.mark.usefixtures("_impatient")
def test_nobody_there() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(UsageError, match="PL1521"), spread(f"tcp://127.0.0.1:{port}"):
        pass


@pytest.mark.usefixtures("_impatient")
def test_a_scheduler_without_workers() -> None:
    with (
        distributed.LocalCluster(n_workers=0, host="127.0.0.1", dashboard_address="127.0.0.1:0") as idle,
        pytest.raises(UsageError, match="PL1522"),
        spread(idle.scheduler_address),
    ):
        pass


def told(**packages: str | None) -> dict[str, Any]:
    same = dict.fromkeys(("dask", "distributed", "cloudpickle", "numpy", "torch", "pathlift"), "1.0")
    return {"packages": {"python": "3.12.1.final.0", **same, **packages}}


@pytest.mark.parametrize(
    ("packages", "said"),
    [
        ({}, ""),
        ({"python": "3.12.9.final.0", "torch": "1.0+cu130"}, ""),
        ({"python": "3.11.1.final.0"}, "worker tcp://a:1 has python 3.11, and here it is 3.12"),
        ({"pathlift": "0.9"}, "worker tcp://a:1 has pathlift 0.9, and here it is 1.0"),
        ({"torch": None}, "worker tcp://a:1 has torch (none), and here it is 1.0"),
    ],
)
def test_versions(packages: dict[str, str | None], said: str) -> None:
    versions = {"client": told(), "scheduler": told(), "workers": {"tcp://b:1": told(), "tcp://a:1": told(**packages)}}
    if not said:
        check_alike(versions)
        return
    with pytest.raises(UsageError, match=re.escape(f"PL1523 {said}")):
        check_alike(versions)
    with pytest.raises(UsageError, match="PL1523 the scheduler has"):
        check_alike({**versions, "scheduler": told(**packages), "workers": {}})


def test_versions_are_looked_at(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[dict[str, Any]] = []
    monkeypatch.setattr(spreading, "check_alike", seen.append)
    with spread(address):
        ((client, scheduler, workers),) = [[told[name] for name in ("client", "scheduler", "workers")] for told in seen]
    assert len(workers) == 2
    for one in (client, scheduler, *workers.values()):
        assert {"numpy", "torch", "pathlift", "cloudpickle"} <= one["packages"].keys()


def listening(pids: list[int]) -> set[str]:
    """Addresses, in hex, that processes listen on (Linux)."""
    inodes = set()
    for pid in pids:
        for file in Path(f"/proc/{pid}/fd").iterdir():
            target = os.readlink(file) if file.is_symlink() else ""
            inodes.add(target.removeprefix("socket:[").removesuffix("]"))
    rows = [line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]]
    return {row[1].partition(":")[0] for row in rows if row[3] == "0A" and row[9] in inodes}


@pytest.mark.slow
def test_processes_of_this_machine(
    works: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """They are two, reachable from here alone, write nothing here, die with a Ctrl-C, and say nothing."""
    monkeypatch.chdir(tmp_path)
    found: dict[int, Any] = {}
    with spread(2) as each:
        for _, (_, folder, pid) in each(works.threads, range(8)):
            found[pid] = folder
        assert len(found) == 2
        if Path("/proc/net/tcp").exists():
            assert listening([os.getpid(), *found]) == {"0100007F"}
        threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
        begun = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            dict(each(works.slept, [(0, 60.0), (1, 60.0)]))
    assert time.monotonic() - begun < 20
    (own,) = {up for folder in found.values() for up in Path(folder).parents if up.name.startswith("pathlift-")}
    assert not own.exists()
    assert not any(is_running(pid) for pid in found)
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.slow
def test_a_cluster_without_workers_left_is_lost(works: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spreading, "_LOST", 2.0)
    options: dict[str, Any] = {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0", "silence_logs": 50}
    with distributed.LocalCluster(n_workers=1, threads_per_worker=1, **options) as leaving:
        found: dict[int, int] = {}
        with spread(leaving.scheduler_address) as each, pytest.raises(ExecutionError, match=r"PL0943.*no worker"):
            gather(found, each(works.slept, [(0, 0.0), (1, 60.0)]), lambda: leaving.scale(0))
        assert found == {0: 0}


VALUES = [0, -1, "x", "http://", "tcp://host", "http://host:8786", "", True, 10**6]


@pytest.mark.parametrize("value", VALUES)
def test_what_is_no_cluster(value: Any, pathlift: Callable[..., Any], digits: Path) -> None:
    with pytest.raises(UsageError, match="PL1520"), spread(value):
        pass
    if not isinstance(value, bool):
        outcome = pathlift("ks", "fit", str(digits), "--cluster", str(value))
        assert (outcome.code, outcome.err[:6]) == (2, "PL1520")


def test_what_it_takes_is_told(pathlift: Callable[..., Any], digits: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dask", None)
    outcome = pathlift("ks", "fit", str(digits), "--cluster", "2")
    assert (outcome.code, outcome.err[:6]) == (2, "PL1415")
    assert "pip install 'pathlift[cluster]'" in outcome.err
