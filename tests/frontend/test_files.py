"""Saving never loses a file and never leaves half of one (full disk, Ctrl-C, kill -9, wrong destination)."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from pathlift.frontend.files import WriteFailedError, replacing
from pathlift.ir.errors import OutputError


def write(path: Path, text: str = "new", companion: str = "", force: bool = False) -> None:
    with replacing(path, force=force) as staged:
        staged.write_text(text)
        if companion:
            (staged.parent / f"{staged.name}.data").write_text(companion)


def fail_midway(path: Path, error: BaseException) -> None:
    with replacing(path, force=True) as staged:
        staged.write_text("half")
        raise error


def contents(folder: Path) -> dict[str, str]:
    return {p.name: p.read_text() if p.is_file() else "<folder>" for p in folder.iterdir()}


def test_writes_a_file_and_its_companion(tmp_path: Path) -> None:
    write(tmp_path / "m.onnx", companion="weights")
    assert contents(tmp_path) == {"m.onnx": "new", "m.onnx.data": "weights"}


def test_staged_name_is_the_final_name(tmp_path: Path) -> None:
    with replacing(tmp_path / "m.onnx") as staged:
        assert staged.name == "m.onnx"
        assert not (tmp_path / "m.onnx").exists()
        staged.touch()


def test_new_file_has_ordinary_permissions(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    write(tmp_path / "m.onnx")
    assert (tmp_path / "m.onnx").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_relative_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(Path("m.onnx"))
    assert contents(tmp_path) == {"m.onnx": "new"}


@pytest.mark.parametrize("existing", ["m.onnx", "m.onnx.data"])
def test_existing_file_is_refused_without_force(tmp_path: Path, existing: str) -> None:
    (tmp_path / existing).write_text("old")
    with pytest.raises(OutputError, match="exists") as caught:
        write(tmp_path / "m.onnx", companion="weights")
    assert (caught.value.code, caught.value.exit_code) == ("PL0703", 2)
    assert contents(tmp_path) == {existing: "old"}


def test_existing_file_is_refused_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_text("old")
    with pytest.raises(OutputError, match="PL0703 "), replacing(tmp_path / "m.onnx"):
        pytest.fail("the body ran")


def test_force_replaces_all(tmp_path: Path) -> None:
    write(tmp_path / "m.onnx", "old", companion="old weights")
    write(tmp_path / "m.onnx", companion="new weights", force=True)
    assert contents(tmp_path) == {"m.onnx": "new", "m.onnx.data": "new weights"}


def test_symlink_is_replaced_not_followed(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("old")
    (tmp_path / "link").symlink_to("target")
    with pytest.raises(OutputError, match="exists"):
        write(tmp_path / "link")
    write(tmp_path / "link", force=True)
    assert contents(tmp_path) == {"target": "old", "link": "new"}
    assert not (tmp_path / "link").is_symlink()


def test_dangling_symlink_counts_as_existing(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("nowhere")
    with pytest.raises(OutputError, match="exists"):
        write(tmp_path / "link")


@pytest.mark.parametrize(
    ("name", "code"),
    [("folder", "PL0701"), ("missing/m.onnx", "PL0705"), ("file/m.onnx", "PL0705"), ("pipe", "PL0702")],
)
def test_impossible_destinations(tmp_path: Path, name: str, code: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("old")
    os.mkfifo(tmp_path / "pipe")
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(OutputError) as caught:
        write(tmp_path / name, force=True)
    assert (caught.value.code, caught.value.exit_code) == (code, 2)
    assert sorted(os.listdir(tmp_path)) == before


@pytest.mark.parametrize(
    ("number", "code", "exit_code"),
    [(errno.EACCES, "PL0704", 2), (errno.EROFS, "PL0704", 2), (errno.ENOSPC, "PL0706", 70)],
)
def test_folder_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, code: str, exit_code: int
) -> None:
    # Simulated: the superuser, as whom containers often run tests, may write to any folder.
    def refuse(*args: object, **kwargs: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(tempfile, "mkdtemp", refuse)
    with pytest.raises(OutputError) as caught:
        write(tmp_path / "m.onnx")
    assert (caught.value.code, caught.value.exit_code) == (code, exit_code)


def test_read_only_file_is_refused_even_with_force(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "m.onnx").write_text("old")
    monkeypatch.setattr(os, "access", lambda *args: False)
    with pytest.raises(OutputError, match="read-only"):
        write(tmp_path / "m.onnx", force=True)
    assert contents(tmp_path) == {"m.onnx": "old"}


@pytest.mark.parametrize(
    "error",
    [OSError(errno.ENOSPC, "No space left on device"), OSError("100 requested and 7 written")],
    ids=["errno", "numpy"],
)
def test_full_disk_while_writing(tmp_path: Path, error: OSError) -> None:
    write(tmp_path / "m.onnx", "old", companion="old weights")
    with pytest.raises(WriteFailedError) as caught:
        fail_midway(tmp_path / "m.onnx", error)
    assert caught.value.exit_code == 70
    assert (error.strerror or str(error)) in caught.value.message
    assert contents(tmp_path) == {"m.onnx": "old", "m.onnx.data": "old weights"}


def test_full_disk_while_flushing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    write(tmp_path / "m.onnx", "old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(WriteFailedError, match="No space left"):
        write(tmp_path / "m.onnx", force=True)
    assert contents(tmp_path) == {"m.onnx": "old"}


@pytest.mark.parametrize(("old", "rename"), [(False, 0), (False, 1), (True, 0), (True, 1), (True, 2), (True, 3)])
@pytest.mark.parametrize("after", [True, False], ids=["after", "before"])
def test_interrupt_around_any_rename_restores_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: bool, rename: int, after: bool
) -> None:
    if old:
        write(tmp_path / "m.onnx", "old", companion="old weights")
    before, calls, replace = contents(tmp_path), iter(range(100)), os.replace

    def interrupted(source: Path, target: Path) -> None:
        hit = next(calls) == rename
        if not hit or after:
            replace(source, target)
        if hit:
            raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "m.onnx", companion="new weights", force=True)
    assert contents(tmp_path) == before


def test_interrupt_while_writing_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        fail_midway(tmp_path / "m.onnx", KeyboardInterrupt())
    assert contents(tmp_path) == {}


def test_coded_error_passes_through(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="mine"), replacing(tmp_path / "m.onnx"):
        raise OutputError("0799", "mine")


@pytest.mark.parametrize("old", [True, False])
def test_kill_while_saving_leaves_no_half_file(tmp_path: Path, old: bool) -> None:
    if old:
        write(tmp_path / "m.onnx", "old")
    program = (
        "import sys, time; from pathlift.frontend.files import replacing\n"
        "with replacing(sys.argv[1], force=True) as staged:\n"
        "    staged.write_text('half'); print('ready', flush=True); time.sleep(60)"
    )
    arguments = [sys.executable, "-c", program, str(tmp_path / "m.onnx")]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGKILL)
    visible = {name: text for name, text in contents(tmp_path).items() if not name.startswith(".pathlift-")}
    assert visible == ({"m.onnx": "old"} if old else {})
