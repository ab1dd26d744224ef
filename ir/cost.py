"""Costs of linear layers: operations, traffic, and predicted time on a device.

A graphics card is a roofline: a kernel takes as long as its arithmetic or its traffic, whichever is longer, and a fused
kernel moves each operand once. On a CPU thread, ONNX Runtime computes a Kronecker-sparse layer as one batched product
between transpositions (`pathlift.frontend.ks_function`), which may cost as much as the product itself; `CpuThread` adds
them up, with rates fitted to measurements. On the CPU of that fit half of the predicted times are right within a factor
of 1.15, nine in ten within 1.4, and predicted speed-ups within 1.15 and 1.6: between 0.8 and 1.2, one does not tell
which layer is faster (``benchmarks/ks_cost_model.py``). On another vendor's CPU, times were right within 1.5 and 2.4.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from pathlift.ir.kronecker import Pattern

# How often a CPU seems to read or write operand and result: to pack them, to swap axes of features, to gather rows, to
# bring features to the front (fitted); and, roughly, what a transposition of many axes moves element by element.
_PACKING, _SWAPPING, _GATHERING, _TURNING, _MOVING = 4.5, 5, 2, 8, 24


@dataclass(frozen=True)
class Cost:
    """Costs add up.

    Parameters
    ----------
    flops
        Floating-point operations; a multiplication with its addition is 2.
    bytes
        Read and written at least: operand, weights and result, once each.
    seconds
        Predicted time.
    """

    flops: int = 0
    bytes: int = 0
    seconds: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.flops + other.flops, self.bytes + other.bytes, self.seconds + other.seconds)


@dataclass(frozen=True)
class Device:
    """A roofline.

    Parameters
    ----------
    name
        As options spell it.
    flops
        Operations per second in 32 bits, as large products reach them.
    half_flops
        The same in 16 bits and less.
    bandwidth
        Bytes per second from and to memory.
    overhead
        Seconds that an op takes at least.
    """

    name: str
    flops: float
    half_flops: float
    bandwidth: float
    overhead: float

    def dense(self, samples: int, rows: int, cols: int, itemsize: int = 4) -> Cost:
        """Return the cost of a product with a matrix, (samples, cols) to (samples, rows)."""
        return self.batched(samples, Pattern(1, rows, cols, 1), itemsize)

    def batched(self, samples: int, pattern: Pattern, itemsize: int = 4) -> Cost:
        """Return the cost of the products with a pattern's a·d blocks, of operands that lie as the products want."""
        flops, bytes_ = _totals(samples, pattern, itemsize)
        return Cost(flops, bytes_, self.overhead + max(flops / self._rate(itemsize), bytes_ / self.bandwidth))

    def kronecker(self, samples: int, pattern: Pattern, itemsize: int = 4, *, feature_major: bool = False) -> Cost:
        """Return the cost of a `KSLinear`; on a roofline, a fused kernel that reads either layout at full speed."""
        return self.batched(samples, pattern, itemsize)

    def moved(self, elements: int, itemsize: int = 4, *, run: int = 1) -> Cost:
        """Return the cost of a transposition of this many elements, of which `run` in a row stay together."""
        bytes_ = 2 * elements * itemsize
        return Cost(0, bytes_, self.overhead + bytes_ / self.bandwidth)

    def spelled_out(
        self, samples: int, pattern: Pattern, itemsize: int = 4, *, moves: Iterable[tuple[int, int]] = ()
    ) -> Cost:
        """Return the cost of a batched product with nodes of their own for transpositions.

        Parameters
        ----------
        samples, pattern, itemsize
            Of the product.
        moves
            How many features per sample each transposition moves, and how many of them in a row stay together.
        """
        moved = (self.moved(samples * features, itemsize, run=run) for features, run in moves)
        return sum(moved, self.batched(samples, pattern, itemsize))

    def gathered(self, elements: int, itemsize: int = 4) -> Cost:
        """Return the cost of bringing features, the last axis, into another order."""
        return self.moved(elements, itemsize)

    def _rate(self, itemsize: int) -> float:
        """Operations per second; 64 bits are half as fast as 32."""
        return self.half_flops if itemsize < 4 else self.flops * 4 / itemsize


@dataclass(frozen=True)
class CpuThread(Device):
    """A thread of a CPU that runs ONNX Runtime, which computes in 32 bits what is stored in fewer.

    Parameters
    ----------
    cache
        Bytes that are at hand, at `cache_bandwidth`; only what is beyond comes at `bandwidth`.
    block
        Seconds per block of a batched product.
    run
        Seconds per piece, contiguous in memory, that goes from samples to blocks or back.
    element
        Seconds per element that is gathered on its own.
    """

    cache: float
    cache_bandwidth: float
    block: float
    run: float
    element: float

    def dense(self, samples: int, rows: int, cols: int, itemsize: int = 4) -> Cost:
        """Weights were packed when the model was loaded."""
        p = Pattern(1, rows, cols, 1)
        flops, bytes_ = _totals(samples, p, itemsize)
        stored = max(itemsize, 4)
        return Cost(
            flops,
            bytes_,
            self.overhead
            + flops / self._rate(itemsize)
            + self._traffic(p.size * stored, p.size * stored)
            + self._traffic(samples * (rows + cols) * stored, samples * (rows + cols) * stored),
        )

    def batched(self, samples: int, pattern: Pattern, itemsize: int = 4) -> Cost:
        """Weights are packed in every run, unless there is one sample; operands are packed, and read again."""
        flops, bytes_ = _totals(samples, pattern, itemsize)
        stored = max(itemsize, 4)
        around = samples * (pattern.rows + pattern.cols) * stored
        return Cost(
            flops,
            bytes_,
            self.overhead
            + flops / self._rate(itemsize)
            + (2 if samples > 1 else 1) * pattern.size * stored / self.bandwidth
            + self._traffic(_PACKING * around, around)
            + self.block * pattern.a * pattern.d,
        )

    def kronecker(self, samples: int, pattern: Pattern, itemsize: int = 4, *, feature_major: bool = False) -> Cost:
        """Return the cost of a `KSLinear`: a batched product, and the transpositions around it.

        Blocks (d = 1) need none in the feature-major layout, and one among rows, where the product reads its operand
        across. Else features are interleaved, and swapped on both sides; among rows, they first come to the front.
        """
        a, _, _, d = pattern
        stored = max(itemsize, 4)
        around = samples * (pattern.rows + pattern.cols) * stored
        seconds = self._traffic(_SWAPPING * around, around) if d > 1 else 0.0
        if not feature_major and d > 1:
            seconds += self._traffic(_TURNING * around, around)
        elif not feature_major:
            seconds += self._traffic(_GATHERING * samples * pattern.rows * stored, around) + self.run * samples * a
        return self.batched(samples, pattern, itemsize) + Cost(seconds=seconds)

    def moved(self, elements: int, itemsize: int = 4, *, run: int = 1) -> Cost:
        size = elements * itemsize
        apart, together = (self._traffic(passes * size, size) for passes in (_MOVING, 2 * _GATHERING))
        return Cost(0, 2 * size, self.overhead + min(apart, together + self.run * elements / run))

    def spelled_out(
        self, samples: int, pattern: Pattern, itemsize: int = 4, *, moves: Iterable[tuple[int, int]] = ()
    ) -> Cost:
        """No more than a `KSLinear`, whose function is spelled out, too: ONNX Runtime fuses the same transpositions."""
        options = (
            super().spelled_out(samples, pattern, itemsize, moves=moves),
            self.kronecker(samples, pattern, itemsize),
        )
        return min(options, key=lambda cost: cost.seconds)

    def gathered(self, elements: int, itemsize: int = 4) -> Cost:
        """Elements are copied one by one."""
        return Cost(0, 2 * elements * itemsize, self.overhead + self.element * elements)

    def _traffic(self, bytes_: float, working_set: int) -> float:
        """Seconds for bytes of a working set, of which only a part may fit into the cache."""
        beyond = max(0.0, 1 - self.cache / working_set) if working_set else 0.0
        return bytes_ * (beyond / self.bandwidth + (1 - beyond) / self.cache_bandwidth)

    def _rate(self, itemsize: int) -> float:
        return self.flops * 4 / max(itemsize, 4)


@dataclass(frozen=True)
class GraphicsCard(Device):
    """A roofline with tensor cores and a second-level cache, for which kernels are generated.

    Parameters
    ----------
    arch
        Its instruction set, as Triton names it: ``sm_90``.
    tf32_flops
        Operations per second on 32-bit numbers that are cut to tf32.
    cache_bandwidth
        Bytes per second from the second-level cache.
    multiprocessors
        How many there are.
    shared_memory
        Bytes that a program may have on one of them.
    """

    arch: str
    tf32_flops: float
    cache_bandwidth: float
    multiprocessors: int
    shared_memory: int

    @property
    def capability(self) -> int:
        """The number in `arch`."""
        return int(self.arch.removeprefix("sm_"))

    def rate(self, itemsize: int, precision: str = "ieee") -> float:
        """Return operations per second; ``tf32x3`` takes three products of tensor cores for one."""
        if itemsize == 4 and precision != "ieee":
            return self.tf32_flops / (3 if precision == "tf32x3" else 1)
        return self._rate(itemsize)


def _totals(samples: int, p: Pattern, itemsize: int) -> tuple[int, int]:
    """Operations and bytes of a product with a pattern's non-zeros."""
    return 2 * samples * p.size, itemsize * (samples * (p.rows + p.cols) + p.size)


# What well-tuned kernels reach of the data sheets' 67 and 989 TFLOP/s and 3.35 TB/s, in 32 bits without tf32.
_H100 = GraphicsCard(
    name="h100",
    flops=6e13,
    half_flops=7.9e14,
    bandwidth=3e12,
    overhead=3e-6,
    arch="sm_90",
    tf32_flops=4e14,
    cache_bandwidth=5.5e12,
    multiprocessors=132,
    shared_memory=232_448,
)

DEVICES: dict[str, Device] = {
    device.name: device
    for device in (
        CpuThread(
            name="cpu",
            flops=1.04e11,
            half_flops=1.04e11,
            bandwidth=3.8e10,
            overhead=5.9e-6,
            cache=5.4e6,
            cache_bandwidth=1e11,
            block=1.8e-7,
            run=1.6e-8,
            element=9e-9,
        ),
        _H100,
        # The same processor with faster memory: a copy moves 4.3 TB/s on it.
        replace(_H100, name="h200", bandwidth=4.2e12),
        # The same shares of 19.5, 156 and 312 TFLOP/s and 1.56 TB/s (the 40 GB card).
        GraphicsCard(
            name="a100",
            flops=1.75e13,
            half_flops=2.5e14,
            bandwidth=1.4e12,
            overhead=3e-6,
            arch="sm_80",
            tf32_flops=1.25e14,
            cache_bandwidth=3.5e12,
            multiprocessors=108,
            shared_memory=166_912,
        ),
    )
}
"""Devices by name. One thread of a server's CPU with AVX-512, calibrated with ONNX Runtime; graphics cards."""
