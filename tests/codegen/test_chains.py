"""Two factors in one kernel: how what is between them splits, and which tiles fit."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest

from pathlift.codegen.chains import Refinement, Room, refine, room, tiling, work
from pathlift.codegen.fits import misfit
from pathlift.codegen.predict import predict
from pathlift.codegen.schedule import Form, Schedule
from pathlift.codegen.space import space
from pathlift.ir.cost import DEVICES, GraphicsCard
from pathlift.ir.kronecker import Pattern, is_chainable

VIT = Pattern(1, 192, 48, 2), Pattern(2, 48, 192, 1)
HALF = Form("float16", "ieee")


class TestRefine:
    def test_chainable(self) -> None:
        assert refine(*VIT) == Refinement((1, 1), outer=(1, 2), inner=(2, 1), between=24)

    def test_the_other_way_round(self) -> None:
        found = refine(Pattern(2, 48, 192, 1), Pattern(1, 192, 48, 2))
        assert found == Refinement((1, 1), outer=(2, 1), inner=(1, 2), between=96)

    def test_common_blocks(self) -> None:
        found = refine(Pattern(2, 5, 8, 6), Pattern(4, 12, 7, 2))
        assert found == Refinement((2, 2), outer=(1, 3), inner=(2, 1), between=4)

    @pytest.mark.parametrize(
        "pair",
        [
            ((2, 3, 6, 1), (3, 4, 5, 1)),  # neither of 2 and 3 divides the other
            ((1, 3, 6, 2), (1, 4, 5, 3)),
            ((1, 12, 5, 2), (2, 5, 6, 1)),  # 2 does not divide 5
            ((1, 2, 3, 1), (1, 4, 3, 1)),  # these do not multiply
        ],
    )
    def test_no_refinement(self, pair: tuple[tuple[int, ...], ...]) -> None:
        assert refine(*(Pattern(*p) for p in pair)) is None

    def test_chainable_pairs_have_one(self) -> None:
        """Against the definition in `pathlift.ir.kronecker`, on all small pairs."""
        small = [Pattern(*p) for p in itertools.product((1, 2, 3), (2, 3, 4), (2, 4, 6), (1, 2, 3))]
        pairs = [(p, q) for p, q in itertools.product(small, small) if p.cols == q.rows and is_chainable((p, q))]
        assert len(pairs) > 50
        for p, q in pairs:
            split = refine(p, q)
            assert split is not None
            assert split.between == p.a * p.c // q.a  # the rank
            assert (split.inner[1], split.outer[0]) == (1, 1)

    def test_axes_of_both_factors(self) -> None:
        """Numbers of h, split by either factor's axes, are at the same places."""
        small = [Pattern(*p) for p in itertools.product((1, 2, 4), (4, 8), (4, 8), (1, 2, 4))]
        for outer, inner in itertools.product(small, small):
            if (split := refine(outer, inner)) is None:
                continue
            (ci, cl), (e1i, e1l), (e2i, e2l), s = split.common, split.outer, split.inner, split.between
            assert ci * e1i * e2i * s * e1l * e2l * cl == outer.cols
            h = np.arange(outer.cols)
            of_inner = h.reshape(ci, e2i, e1i, s, e1l, e2l, cl).reshape(inner.a, inner.b, inner.d)
            of_outer = h.reshape(ci, e1i, e2i, s, e2l, e1l, cl).reshape(outer.a, outer.c, outer.d)
            assert np.array_equal(of_inner.ravel(), of_outer.ravel())


class TestTiling:
    def test_extents(self) -> None:
        t = tiling(VIT, Schedule("chain", HALF, 64, 64, 16))
        assert t is not None
        assert (t.outer, t.inner, t.blocks) == (2, 2, 1)
        assert (t.block_c, t.tiles_c, t.tiles_s, t.tiles_p) == (64, 3, 2, 3)
        assert t.weights == (2 * 192 * 2 * 32, 2 * 2 * 32 * 192)

    def test_inputs_are_loaded_once_where_there_is_room(self) -> None:
        ps = Pattern(1, 64, 64, 1), Pattern(1, 64, 256, 1)
        few, many = (tiling(ps, Schedule("chain", HALF, n, 64, 16)) for n in (32, 64))
        assert few is not None
        assert many is not None
        assert (few.block_c, many.block_c) == (256, 64)

    def test_blocks_are_rounded_up(self) -> None:
        t = tiling((Pattern(1, 5, 15, 3), Pattern(5, 9, 4, 1)), Schedule("chain", block_n=16, block_k=1))
        assert t is not None
        assert (t.outer, t.inner, t.block_c, t.tiles_s) == (4, 8, 16, 3)


class TestWork:
    schedule = Schedule("chain", HALF, 64, 64, 32)

    def test_operations(self) -> None:
        """Three tiles of outputs compute h each; s is 24, in a tile of 32."""
        samples, h, y = 128, 2 * 64 * 192, 2 * 192 * 64
        assert work(VIT, self.schedule, samples).flops == 2 * samples * (3 * h + y)

    def test_programs(self) -> None:
        assert work(VIT, self.schedule, 129).programs == 3 * 3
        four = Pattern(2, 64, 64, 2), Pattern(2, 64, 64, 2)
        assert work(four, self.schedule, 64).programs == 4

    def test_cached(self) -> None:
        weights = 2 * 2 * 32 * (192 + 64)
        assert work(VIT, self.schedule, 64).cached == 2 * (3 * 64 * 384 + 64 * 384 + 3 * weights)
        residual = dataclasses.replace(self.schedule, form=dataclasses.replace(HALF, residual=True))
        assert work(VIT, residual, 64).cached - work(VIT, self.schedule, 64).cached == 2 * 64 * 384

    def test_inputs_that_are_not_held_are_read_for_every_tile_between(self) -> None:
        one, two = (work(VIT, Schedule("chain", HALF, 64, 64, k), 64).cached for k in (32, 16))
        assert two - one == 2 * 3 * 64 * 384

    def test_interleaved_blocks_waste_sectors(self) -> None:
        ps = Pattern(1, 64, 64, 8), Pattern(1, 64, 64, 8)
        weights = 8 * 64 * (64 + 64)
        assert work(ps, Schedule("chain", HALF, 64, 64, 64), 64).cached == 2 * (8 * 2 * 64 * 512 + weights)


class TestFits:
    def test_fits(self) -> None:
        assert misfit(VIT, Schedule("chain", HALF, 64, 64, 16)) == ""

    @pytest.mark.parametrize(
        ("change", "reason"),
        [
            ({"form": Form(reads="features")}, "rows of samples"),
            ({"form": Form(writes="features")}, "rows of samples"),
            ({"group": 2}, "no groups"),
            ({"weights_left": True}, "weights on the left"),
            ({"descriptors": True}, "descriptors"),
            ({"block_k": 4}, "16 inputs at least, not 2·4"),
            ({"block_n": 256, "block_p": 256}, "registers"),
            ({"stages": 30}, "shared memory"),
        ],
    )
    def test_misfits(self, change: dict[str, object], reason: str) -> None:
        schedule = dataclasses.replace(Schedule("chain", HALF, 64, 64, 16), **change)  # type: ignore[arg-type] # of any field
        assert reason in misfit(VIT, schedule)

    def test_patterns(self) -> None:
        schedule = Schedule("chain", HALF, 64, 64, 16)
        assert "do not nest" in misfit((Pattern(2, 3, 6, 1), Pattern(3, 4, 5, 1)), schedule)
        assert "2 factors" in misfit(VIT[:1], schedule)

    def test_padding_of_weights_counts(self) -> None:
        ps = Pattern(2**20, 1, 1, 1), Pattern(2**20, 1, 1, 1)
        assert "with their padding" in misfit(ps, Schedule("chain", HALF, 1, 256, 16, warps=8))


class TestRoom:
    def test_one_pass(self) -> None:
        """x, h and sums are 2·64·64 each; weights 2·64·64 and 4·32·64."""
        assert room(VIT, Schedule("chain", HALF, 64, 64, 32, stages=2)) == Room((8192 + 8192) // 128, 2 * 2 * 16384)

    def test_parts_of_tf32_take_registers(self) -> None:
        one, three = (room(VIT, Schedule("chain", Form(precision=p), 64, 64, 32)) for p in ("tf32", "tf32x3"))
        assert one.registers < three.registers
        assert one.shared == three.shared

    def test_inputs_that_are_held_take_room_once(self) -> None:
        ps = Pattern(1, 64, 64, 1), Pattern(1, 64, 256, 1)
        x, w1, w2 = 32 * 256, 64 * 16, 16 * 256
        assert room(ps, Schedule("chain", HALF, 32, 64, 16, stages=3)).shared == 2 * (x + 3 * (w1 + w2))


class TestCosts:
    """Of `pathlift.codegen.predict` and `pathlift.codegen.space`."""

    (card,) = (card for card in DEVICES.values() if isinstance(card, GraphicsCard) and card.name == "h100")

    def test_every_schedule_fits(self) -> None:
        found = list(space(VIT, HALF, 4096, self.card))
        assert {s.template for s in found} == {"chain"}
        assert not any(misfit(VIT, s) for s in found)
        assert all(room(VIT, s).shared <= self.card.shared_memory for s in found)

    def test_none_for_blocks_that_do_not_nest(self) -> None:
        assert list(space((Pattern(2, 3, 6, 1), Pattern(3, 4, 5, 1)), HALF, 4096, self.card)) == []

    def test_operations_and_seconds(self) -> None:
        """Narrower tiles of outputs compute h more often, which takes longer."""
        wide, narrow = (predict(VIT, Schedule("chain", HALF, 64, p, 32, warps=8), 2**17, self.card) for p in (64, 16))
        assert wide.flops == work(VIT, Schedule("chain", HALF, 64, 64, 32), 2**17).flops
        assert narrow.flops > 2 * wide.flops
        assert narrow.seconds > wide.seconds
        assert wide.bytes == narrow.bytes
