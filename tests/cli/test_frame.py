"""The contract of every verb: envelope, streams, coded one-line errors, exit codes."""

from __future__ import annotations

import errno
import json
import logging
import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pathlift.ir import errors
from pathlift.report.result import Source

Cli = Callable[..., Any]
Fake = Callable[..., Any]
EVIL = "\x1b[31mconv\x1b]0;title\x07\n3[bold]\u202e"


def test_envelope(pathlift: Cli, fake: Fake) -> None:
    fake(input=Source("m.onnx", "ab" * 32), assumptions=("a",), warnings=("w",), payload={"passes": [], "x": None})
    outcome = pathlift("passes", "--format", "json")
    assert outcome.code == 0
    assert json.loads(outcome.out) == {
        "schema_version": 1,
        "tool": {"name": "pathlift", "version": "0.1.0"},
        "input": {"path": "m.onnx", "sha256": "ab" * 32},
        "assumptions": ["a"],
        "warnings": ["w"],
        "result": {"passes": [], "x": None},
    }


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_json_never_contains_nan_or_infinity(pathlift: Cli, fake: Fake, value: float) -> None:
    fake(payload={"passes": [], "x": value})
    outcome = pathlift("passes", "--format", "json")
    assert (outcome.code, json.loads(outcome.out)["error"]["code"]) == (70, "PL0000")
    assert outcome.err.startswith("PL0000 internal error: ")


def test_json_is_ascii_and_keeps_names(pathlift: Cli, fake: Fake) -> None:
    fake(payload={"passes": [], "name": EVIL})
    outcome = pathlift("passes", "--format", "json")
    assert outcome.out.isascii()
    assert "\x1b" not in outcome.out
    assert json.loads(outcome.out)["result"]["name"] == EVIL


@pytest.mark.parametrize("output_format", ["text", "json"])
def test_warnings_go_to_stderr_and_assumptions_to_stdout(pathlift: Cli, fake: Fake, output_format: str) -> None:
    fake(assumptions=("eval mode",), warnings=("unsorted nodes",))
    outcome = pathlift("passes", "--format", output_format)
    assert outcome.err == "warning: unsorted nodes\n"
    assert "eval mode" in outcome.out


def test_quiet(pathlift: Cli, fake: Fake) -> None:
    fake(warnings=("w",), action=lambda: logging.getLogger("pathlift").warning("log"))
    assert pathlift("passes", "-q").err == ""


@pytest.mark.parametrize(
    ("flags", "expected"),
    [([], "warning: w\n"), (["-v"], "info: i\nwarning: w\n"), (["-vv"], "debug: d\ninfo: i\nwarning: w\n")],
)
def test_verbosity(pathlift: Cli, fake: Fake, flags: list[str], expected: str) -> None:
    def log() -> None:
        logger = logging.getLogger("pathlift.frontend")
        logger.debug("d")
        logger.info("i")
        logger.warning("w")

    fake(action=log)
    assert pathlift("passes", *flags).err == expected


def test_what_libraries_print_is_not_the_result(pathlift: Cli, fake: Fake) -> None:
    fake(action=lambda: print("[exporter] done"))
    outcome = pathlift("passes", "--format", "json")
    json.loads(outcome.out)
    assert "[exporter] done" in outcome.err


def test_library_warnings_are_silent(pathlift: Cli, fake: Fake) -> None:
    with warnings.catch_warnings():
        fake(action=lambda: warnings.warn("deprecated", FutureWarning, stacklevel=1))
        assert pathlift("passes").err == ""


@pytest.mark.parametrize("code", [0, 1, 5])
def test_verdict_is_the_exit_code(pathlift: Cli, fake: Fake, code: int) -> None:
    fake(exit_code=code)
    assert pathlift("passes").code == code


@pytest.mark.parametrize("output_format", ["text", "json"])
@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.UsageError("0499", "m"), 2),
        (errors.TextError("0699", "m"), 2),
        (errors.OutputError("0799", "m"), 2),
        (errors.InvalidModelError("0199", "m"), 3),
        (errors.UnsafeModelError("0299", "m"), 3),
        (errors.GraphError("0599", "m"), 3),
        (errors.UnsupportedError("0399", "m"), 4),
        (errors.WitnessError("0899", "m"), 70),
        (errors.RuntimeFailureError("0999", "m"), 70),
    ],
)
def test_coded_errors(pathlift: Cli, fake: Fake, error: errors.PathliftError, code: int, output_format: str) -> None:
    fake(error=error)
    outcome = pathlift("passes", "--format", output_format)
    assert (outcome.code, outcome.err) == (code, f"{error.code} m\n")
    assert (outcome.out == "") == (output_format == "text")


def test_error_names_the_node_and_hints(pathlift: Cli, fake: Fake) -> None:
    fake(error=errors.UnsupportedError("0304", "dynamic weight", hint="fold it").at("conv3", "Conv"))
    assert pathlift("passes").err == "PL0304 node 'conv3' (Conv): dynamic weight hint: fold it\n"


def test_error_is_one_clean_line(pathlift: Cli, fake: Fake) -> None:
    fake(error=errors.InvalidModelError("0199", f"tensor {EVIL} is bad"))
    assert pathlift("passes").err == "PL0199 tensor conv 3[bold] is bad\n"


@pytest.mark.parametrize("error", [KeyError("x"), RecursionError("deep"), OSError(errno.EIO, "io")])
def test_unexpected_errors_are_internal(pathlift: Cli, fake: Fake, error: Exception) -> None:
    fake(error=error)
    outcome = pathlift("passes")
    assert (outcome.code, outcome.out) == (70, "")
    assert outcome.err.startswith(f"PL0000 internal error: {type(error).__name__}")
    assert outcome.err.count("\n") == 1


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory")])
def test_too_little_memory_is_no_defect(pathlift: Cli, fake: Fake, error: Exception) -> None:
    fake(error=error)
    assert pathlift("passes") == (3, "", "PL0214 cannot finish: out of memory\n")


def test_debug_shows_the_traceback_before_the_line(pathlift: Cli, fake: Fake) -> None:
    fake(error=KeyError(EVIL))
    lines = pathlift("passes", "--debug").err.splitlines()
    assert lines[0].startswith("Traceback")
    assert lines[-1].startswith("PL0000 internal error: KeyError")
    assert not any("\x1b" in line for line in lines)


def test_interrupt(pathlift: Cli, fake: Fake) -> None:
    fake(error=KeyboardInterrupt())
    outcome = pathlift("passes")
    assert (outcome.code, outcome.out) == (130, "")
    assert "Traceback" not in outcome.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "Missing command"),
        (("frobnicate",), "No such command 'frobnicate'"),
        (("norm",), "Missing argument"),
        (("norm", "m.onnx", "--nope"), "No such option: --nope"),
        (("norm", "m.onnx", "--format", "xml"), "Invalid value for '--format'"),
        (("norm", "m.onnx", "--pooling", "mean"), "Invalid value for '--pooling'"),
        (("norm", "a.onnx", "b.onnx"), "unexpected extra argument"),
        (("export", "m:f", "-o", "x"), "Missing option '--shape'"),
        (("compare", "a.onnx"), "Missing argument 'SECOND'"),
        (("analyze", "m.onnx"), "Missing option '--pipeline'"),
        (("frob\x1b[31m",), "No such command"),
    ],
)
def test_usage_errors(pathlift: Cli, arguments: tuple[str, ...], message: str) -> None:
    outcome = pathlift(*arguments)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.startswith("PL0400 ")
    assert message in outcome.err
    assert "--help'" in outcome.err
    assert outcome.err.count("\n") == 1
    assert "\x1b" not in outcome.err


def test_version(pathlift: Cli) -> None:
    assert pathlift("--version") == (0, "pathlift 0.1.0\n", "")


@pytest.mark.parametrize("verb", ["inspect", "norm", "export", "opt", "passes"])
def test_every_verb_has_the_shared_options(pathlift: Cli, verb: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    outcome = pathlift(verb, "--help")
    assert outcome.code == 0
    assert all(option in outcome.out for option in ("--format", "--quiet", "--verbose", "--debug"))


def test_norm_passes_its_flags_on(pathlift: Cli, fake: Fake) -> None:
    calls = fake(verb="norm.norm", payload={"norms": []})
    flags = "--q 0,2,inf --mixed inf --pooling max --inputs-only --dtype float32 --device cuda:0 --shape N=8,H=224"
    flags += " --domain x=0:1 --recentre --top 15 --sort gain"
    more = "--per-layer --heaviest-path --regions --weights w.npz --chart c.svg --force --full --assume-eval"
    assert pathlift("norm", "m.onnx", *flags.split(), *more.split(), "--memory-limit", "1GiB").code == 0
    named: dict[str, Any] = {"q": (0.0, 2.0, math.inf), "mixed": math.inf, "pooling": "max", "inputs_only": True}
    named |= {"dtype": "float32", "device": "cuda:0", "shape": {"N": 8, "H": 224}, "per_layer": True}
    named |= {"heaviest_path": True, "regions": True, "weights": Path("w.npz"), "chart": Path("c.svg"), "force": True}
    named |= {"full": True, "memory_limit": 2**30, "assume_eval": True, "domain": {"x": (0.0, 1.0)}, "recentre": True}
    named |= {"top": 15, "sort": "gain"}
    assert calls == [((Path("m.onnx"),), named)]


def test_norm_defaults_are_the_functions(pathlift: Cli, fake: Fake) -> None:
    import inspect

    from pathlift.verbs.norm import norm

    defaults = {name: p.default for name, p in inspect.signature(norm).parameters.items() if p.default is not p.empty}
    del defaults["example"], defaults["per_weight"]  # for modules, which have no file, and for arrays in memory
    calls = fake(verb="norm.norm", payload={"norms": []})
    pathlift("norm", "m.onnx")
    assert calls[0][1] == defaults | {"q": (defaults["q"],)}


def test_a_verb_that_tells_its_progress_is_given_a_bar(
    pathlift: Cli, fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pathlift.cli.command.progress", lambda what: f"bar of {what}")
    calls = fake(verb="bench.bench", payload={"models": [], "executor": "e", "device": "d"})
    assert pathlift("bench", "a.onnx", "b.onnx", "c.onnx", "--threads", "1,2").code == 0
    assert calls[0][0] == (Path("a.onnx"), Path("b.onnx"), Path("c.onnx"))
    assert (calls[0][1]["progress"], calls[0][1]["threads"]) == ("bar of timing", (1, 2))


def test_what_is_not_given_is_the_functions_default(pathlift: Cli, fake: Fake) -> None:
    calls = fake(verb="bench.bench", payload={"models": [], "executor": "e", "device": "d"})
    assert pathlift("bench", "a.onnx").code == 0
    assert calls[0][0] == (Path("a.onnx"),)
    calls = fake(verb="opt.opt", payload={"output": None, "ir": [], "passes": []})
    assert pathlift("opt", "m.onnx").code == 0
    assert (calls[0][0], calls[0][1]["norms"], calls[0][1]["shape"]) == ((Path("m.onnx"), ""), (), None)


def test_export_passes_its_flags_on(pathlift: Cli, fake: Fake) -> None:
    payload = {"output": "x", "bytes": 1, "opset": 20, "inputs": [], "outputs": []}
    calls = fake(verb="export.export", payload=payload)
    shapes = ["--shape", "1,3,8,8", "--shape", "1,2"]
    assert pathlift("export", "p.m:f", *shapes, "-o", "x.onnx", "--force", "--opset", "18").code == 0
    named = {"shape": ((1, 3, 8, 8), (1, 2)), "output": Path("x.onnx"), "opset": 18, "force": True}
    assert calls == [(("p.m:f",), named)]


def test_opt_prints_after_each_pass_on_stderr(pathlift: Cli, fake: Fake) -> None:
    calls = fake(verb="opt.opt", payload={"output": None, "ir": ["%x = Input()", "return %x"], "passes": []})
    outcome = pathlift("opt", "m.onnx", "-p", "a{b=c},d", "--print-after-all")
    assert outcome.out == "%x = Input()\nreturn %x\n"
    assert calls[0][0] == (Path("m.onnx"), "a{b=c},d")
    calls[0][1]["after_each"]("a", "line\x1b[2J")
    assert pathlift("opt", "m.onnx").err == "# after a\nline\n"
    assert calls[1][1]["after_each"] is None
