"""Parts of the kit: cases, baselines, what is checked, timing, processes of phases, the report."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from benchmarks.gpu import __main__ as kit
from benchmarks.gpu import baselines, cases, kernels, report
from benchmarks.gpu.correctness import checks
from benchmarks.gpu.layers import Checker
from benchmarks.gpu.operands import Drawn, Guarded
from benchmarks.gpu.phase import BROKEN, Run, note, records
from benchmarks.gpu.timing import Clock

from pathlift.codegen.schedule import Form
from pathlift.ir.kronecker import Pattern, product

PATTERNS = [Pattern(2, 16, 32, 1), Pattern(1, 32, 16, 3), Pattern(2, 16, 48, 4), Pattern(1, 5, 6, 2)]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path / "log", seed=0, until=time.time() + 60, dry=True)


def test_patterns_of_the_benchmark() -> None:
    found = cases.benchmark_patterns()
    assert len(set(found)) == len(found) == 376  # as many as the reference has of this rule
    assert Pattern(1, 48, 192, 64) in found
    assert not {Pattern(1, 256, 64, 4), Pattern(1, 64, 64, 1), Pattern(128, 1024, 1024, 64)} & set(found)


def test_samples_are_seeded_and_hold_the_patterns_of_vit() -> None:
    found = cases.sample(3, dry=False)
    assert found == cases.sample(3, dry=False) != cases.sample(4, dry=False)
    assert len(found) == 376 + 6
    assert Pattern(1, 768, 192, 2) in found[:20]
    groups = cases.layer_cases(found[:3], dry=False)
    assert {(c.samples, cases.kind(c.form), c.form.reads) for c in itertools.chain(*groups)} == set(
        itertools.product((25088, 1, 16, 256), cases.TOLERANCES.keys() - {"ieee"}, ("rows", "features"))
    )


@pytest.mark.parametrize("layout", cases.LAYOUTS)
@pytest.mark.parametrize("p", PATTERNS)
def test_baselines_compute_the_product(p: Pattern, layout: str) -> None:
    x, factor = torch.randn(7, p.cols).double(), torch.randn(p.shape).double()
    matrix = torch.from_numpy(product([factor.numpy()]))
    expected = x @ matrix.T
    assert torch.allclose(kernels.dense([factor]), matrix)
    given = x if layout == "rows" else x.T.contiguous()
    made = baselines.baselines(p, given, factor, layout)
    assert ("bmm in place" in made) == (p.d == 1 or (p.a == 1 and layout == "features"))
    for name, make in made.items():
        if name == "bsr":
            given, factor = given.float(), factor.float()  # a CPU has it for this type
            if p.b < 16:
                with pytest.raises(ValueError, match="too small"):
                    make()
                continue
        y = make()()
        assert torch.allclose((y if layout == "rows" else y.T).double(), expected, atol=1e-4), name


def test_contestants_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "mine.py"
    file.write_text("def contestants(p, x, factor, layout):\n    return {'mine': lambda: lambda: x}\n")
    monkeypatch.setenv("CONTESTANTS", str(file))
    baselines._others.cache_clear()
    try:
        made = baselines.baselines(PATTERNS[0], torch.ones(1, 64), torch.ones(PATTERNS[0].shape), "rows")
        assert made["mine"]() is not None
    finally:
        baselines._others.cache_clear()


class TestChecker:
    p = Pattern(2, 3, 4, 2)

    @pytest.fixture(params=cases.LAYOUTS)
    def given(self, request: pytest.FixtureRequest) -> tuple[Checker, torch.Tensor]:
        rows = request.param == "rows"
        x, factor = torch.randn(200, self.p.cols), torch.randn(self.p.shape)
        case = cases.Case(self.p, 200, Form(reads=request.param, writes=request.param))
        y = x @ kernels.dense([factor]).T
        given = x if rows else x.T.contiguous()
        return Checker(given, factor, case), y if rows else y.T.contiguous()

    def test_accepts_the_product(self, given: tuple[Checker, torch.Tensor]) -> None:
        assert given[0].error(lambda: given[1]) < 2e-6

    def test_finds_what_is_not_written(self, given: tuple[Checker, torch.Tensor]) -> None:
        checker, y = given
        unseen = next(i for i in range(200) if i not in checker.some)
        (y if checker.rows else y.T)[unseen, 3] = torch.nan
        assert not checker.error(lambda: y) < 1

    def test_finds_a_wrong_last_sample(self, given: tuple[Checker, torch.Tensor]) -> None:
        checker, y = given
        (y if checker.rows else y.T)[-1] = 0.0
        assert checker.error(lambda: y) > 1e-2


def test_checks_cover_what_there_is(run: Run) -> None:
    found = list(checks(Run(run.log, 0, run.until, dry=False), kernels.this_card(dry=True), 1))
    forms = {(cases.kind(c.schedule.form), c.schedule.form.reads, c.schedule.form.writes) for c in found}
    assert forms == set(itertools.product(cases.TOLERANCES, cases.LAYOUTS, cases.LAYOUTS))
    assert {c.guard for c in found} == {256, 257}
    assert {c.schedule.form.activation for c in found} == {"", "Relu", "Gelu", "GeluTanh"}


class TestGuards:
    @pytest.fixture
    def held(self) -> Guarded:
        return Guarded({"x": torch.ones(2, 3).T, "y": torch.full((2, 2), torch.nan)}, 5)

    def test_results_may_be_written(self, held: Guarded) -> None:
        assert held["x"].is_contiguous()
        held["y"].fill_(1.0)
        held.check("y")

    def test_operands_may_not(self, held: Guarded) -> None:
        held["x"][2, 1] = 2.0
        with pytest.raises(ArithmeticError, match="x was written"):
            held.check("y")

    @pytest.mark.parametrize("offset", [-1, 4])
    def test_nor_what_is_around_results(self, held: Guarded, offset: int) -> None:
        y = held["y"]
        y.as_strided((1,), (1,), y.storage_offset() + offset).fill_(1.0)
        with pytest.raises(ArithmeticError, match="around y"):
            held.check("y")


@pytest.mark.parametrize("layouts", list(itertools.product(cases.LAYOUTS, repeat=2)))
def test_expected_is_the_layer(layouts: tuple[Any, Any]) -> None:
    patterns, form = [Pattern(1, 4, 3, 2), Pattern(2, 3, 5, 1)], Form("float32", "ieee", *layouts, True, True, "Relu")
    drawn = Drawn(patterns, form, 9, 0, "cpu")
    matrix = torch.from_numpy(product([factor.double().numpy() for factor in drawn.factors]))
    assert drawn.bias is not None
    assert drawn.residual is not None
    expected = (drawn.x.double() @ matrix.T + drawn.bias.double() + drawn.residual.double()).relu()
    assert torch.allclose(drawn.expected(), expected)
    held = drawn.operands(())
    assert held["x"].shape == ((9, 10) if form.reads == "rows" else (10, 9))
    assert held["residual"].shape == held["y"].shape == ((9, 8) if form.writes == "rows" else (8, 9))
    assert held["y"].isnan().all()


def test_kernels_depend_on_no_more_of_a_number_of_samples() -> None:
    for n in (1, 2, 15, 16, 17, 31, 32, 100, 25088, 2**31 + 1):
        small = kernels.alike(n)
        assert small < 32
        assert (small == 1, small % 16 == 0) == (n == 1, n % 16 == 0)


def test_compiling_does_not_run() -> None:
    seen = []

    class Kernel:
        def __getitem__(self, grid: object) -> object:
            raise AssertionError("it ran")

        def warmup(self, *operands: object, grid: object) -> None:
            seen.append((operands, grid))

    module: Any = SimpleNamespace(kernel=Kernel())
    exec("def launch(x, bias=None):\n    kernel[(3,)](x, bias)", vars(module))
    kernels.compile_only(module, "x")
    assert seen == [(("x", None), (3,))]
    with pytest.raises(AssertionError, match="it ran"):
        module.launch("x")


def test_who_is_slow_leaves_after_three_rounds() -> None:
    calls = {"slow": lambda: time.sleep(0.02), "fast": lambda: None}
    seconds = Clock("cpu").race(calls, 6, 0.03)
    assert (len(seconds["slow"]), len(seconds["fast"])) == (3, 6)
    assert min(seconds["slow"]) > 0.02


class TestPhases:
    def test_what_is_left_out_is_said(self, run: Run) -> None:
        late = Run(run.log, 0, time.time() - 1, dry=True)
        assert list(late.cases([1, 2, 3], "things", str)) == []
        assert records(run.log) == [{"record": "left_out", "what": "3 of 3 things", "why": "no time was left"}]

    def test_cases_begun_before_are_skipped(self, run: Run) -> None:
        again = Run(run.log, 0, run.until, dry=True, skip=2)
        assert list(again.cases("abcd", "letters", str)) == ["c", "d"]
        assert [r["index"] for r in records(run.log)] == [2, 3]

    def test_a_line_that_is_cut_off_is_a_failure(self, run: Run) -> None:
        run.emit("checked", pattern=str(Pattern(1, 2, 3, 4)))
        with run.log.open("a") as file:
            file.write('{"record": "chec')
        assert [r["record"] for r in records(run.log)] == ["checked", "failed"]

    def test_a_crash_is_survived(self, monkeypatch: pytest.MonkeyPatch) -> None:
        skips = []

        def crash(command: list[str], **_: object) -> SimpleNamespace:
            log, skip = Path(command[command.index("--log") + 1]), int(command[command.index("--skip") + 1])
            skips.append(skip)
            note(log, "begun", what=f"case {skip}")
            return SimpleNamespace(returncode=BROKEN if skip < 2 else 0)

        monkeypatch.setattr(kit.subprocess, "run", crash)
        found = kit.run_phase("layers", 0, time.time() + 60, dry=True)
        assert skips == [0, 1, 2]
        assert [r["what"] for r in found if r["record"] == "crashed"] == ["case 0", "case 1"]

    def test_shares(self) -> None:
        assert sum(kit.PHASES.values()) < 1


MACHINE = {"phase": "machine", "record": "machine", "device": "NVIDIA H200"}
GOOD = {
    "phase": "correctness", "record": "checked", "what": "k", "template": "dot", "kind": "tf32", "error": 1e-4,
    "good": True,
}  # fmt: skip


class TestReport:
    def layer(self, pattern: str, kernel: float, bmm: float) -> dict[str, Any]:
        return {
            "phase": "layers", "record": "layer", "pattern": pattern, "samples": 1, "kind": "tf32", "layout": "rows",
            "dense_predicted": False, "bytes": 1e6, "absent": {},
            "seconds": {"kernel": [kernel] * 3, "bmm": [bmm] * 3, "dense": [9.0] * 3},
        }  # fmt: skip

    def save(self, tmp_path: Path, *more: dict[str, Any]) -> tuple[str, bool]:
        path, good = report.save(tmp_path, [MACHINE, *more], 1, 9.0, 1.0, False)
        assert path.name == "gpu_kernels_nvidia-h200.md"
        return path.read_text(), good

    def test_what_loses_comes_first(self, tmp_path: Path) -> None:
        text, good = self.save(tmp_path, GOOD, self.layer("(wins)", 1.0, 2.0), self.layer("(loses)", 4.0, 1.0))
        assert good
        assert 0 < text.index("(loses)") < text.index("(wins)")
        assert "| bmm | 1000000 | 4000000 | 0.250 [0.250–0.250]" in text  # the best other, not dense

    @pytest.mark.parametrize(
        "bad",
        [
            {**GOOD, "good": False},
            {"phase": "layers", "record": "wrong", "what": "k", "error": 0.5},
            {"phase": "layers", "record": "crashed", "what": "k", "error": "gone"},
            {"phase": "memcheck", "record": "memcheck", "status": 9, "report": ["Invalid read"]},
        ],
    )
    def test_what_is_wrong_is_no_success(self, tmp_path: Path, bad: dict[str, Any]) -> None:
        text, good = self.save(tmp_path, GOOD, bad)
        assert not good
        assert bad.get("what", "Invalid read") in text

    def test_nothing_checked_is_no_success(self, tmp_path: Path) -> None:
        assert not self.save(tmp_path)[1]


@pytest.fixture(autouse=True)
def _precision() -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    yield
    torch.set_float32_matmul_precision(before)
