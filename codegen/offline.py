"""Kernels compiled without a graphics card: what the machine code uses, and what it is made of.

Triton compiles for any card on any machine. What is compiled is what `launch` of the generated module would launch: it
is called with operands that have no memory, and with something in place of the kernel that keeps what it is given.
"""

from __future__ import annotations

import contextlib
import io
import re
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from itertools import repeat
from multiprocessing import get_context
from types import ModuleType
from typing import Any

from pathlift.codegen.architectures import Architecture, architecture
from pathlift.codegen.module import execute, require_triton
from pathlift.ir.errors import ExecutionError, UsageError

_TYPES = {"float32": "fp32", "float16": "fp16", "bfloat16": "bf16"}
_ALIGNMENT = 16
"""What Triton specializes kernels for: addresses and numbers that are multiples of it."""
_USAGE = re.compile(r"REG:(\d+) STACK:(\d+).*?LOCAL:(\d+)")
_LOAD = re.compile(r"\bld\.global[\w.:]*?(?:\.v(\d))?\.[bfsu](\d+)\b")
_COPY = re.compile(r"\bcp\.async\.c[ag]\.shared\.global[\w.:]* \[[^]]*\], \[[^]]*\], (\w+)")
_BULK_LOAD = re.compile(r"\bcp\.async\.bulk\.tensor\.\dd\.shared::[\w:]+\.global\b")
_BULK_STORE = re.compile(r"\bcp\.async\.bulk\.tensor\.\dd\.global\.shared::\w+\b")
_PRODUCTS = {
    "mma.sync": re.compile(r"\bmma\.sync\b"),
    "wgmma": re.compile(r"\bwgmma\.mma_async\b"),
    "tcgen05": re.compile(r"\btcgen05\.mma\b"),
}


@dataclass(frozen=True)
class Report:
    """A compiled kernel.

    Parameters
    ----------
    arch
        The name of the architecture that it is compiled for.
    seconds
        How long that took; next to nothing if Triton had it in its cache.
    registers
        32-bit registers per thread.
    stack, local
        Bytes per thread in memory; registers that do not suffice are spilled there.
    shared
        Bytes of shared memory per program.
    ptx, cubin
        The assembly, and the machine code.
    """

    arch: str
    seconds: float
    registers: int
    stack: int
    local: int
    shared: int
    ptx: str = field(repr=False)
    cubin: bytes = field(repr=False)

    @property
    def spills(self) -> bool:
        """Whether threads use memory of their own."""
        return self.stack + self.local > 0

    @property
    def fits(self) -> bool:
        """Whether programs get as much shared memory as they use."""
        return self.shared <= architecture(self.arch).shared

    @property
    def loads(self) -> Counter[int]:
        """How many instructions load from global memory, by bytes per thread; without those that load whole tiles."""
        widths = [int(count or 1) * int(bits) // 8 for count, bits in _LOAD.findall(self.ptx)]
        return Counter(widths + [int(size, 0) for size in _COPY.findall(self.ptx)])

    @property
    def widest_load(self) -> int:
        """Bytes per thread of the widest load from global memory; 0 if whole tiles are all that is loaded."""
        return max(self.loads, default=0)

    @property
    def tensor_core_instructions(self) -> dict[str, int]:
        """How many instructions multiply matrices, by kind: ``mma.sync``, ``wgmma`` or ``tcgen05``."""
        return {name: len(pattern.findall(self.ptx)) for name, pattern in _PRODUCTS.items()}

    @property
    def bulk_loads(self) -> int:
        """How many instructions have the tensor memory accelerator load a tile."""
        return len(_BULK_LOAD.findall(self.ptx))

    @property
    def bulk_stores(self) -> int:
        """How many instructions have the tensor memory accelerator store a tile."""
        return len(_BULK_STORE.findall(self.ptx))


def compile_source(source: str, arch: str, *, samples_divisible_by_16: bool = True) -> Report:
    """Compile the kernel of a generated module.

    Parameters
    ----------
    source
        Of the module: see `pathlift.codegen.render`.
    arch
        One of `pathlift.codegen.architectures.ARCHITECTURES`.
    samples_divisible_by_16
        Triton compiles a kernel of its own for numbers of samples that 16 divides, in which accesses in the
        features' layout are wider.

    Raises
    ------
    UsageError
        If there is no such architecture, Triton is not installed, or this process interprets kernels.
    ExecutionError
        If the kernel does not compile, or what it uses cannot be found out.
    """
    target = architecture(arch)
    _require_compiler()
    launched = _launched(execute(source), 4096 if samples_divisible_by_16 else 4097)
    start = time.perf_counter()
    compiled = _compile(*launched, target)
    seconds = time.perf_counter() - start
    registers, stack, local = _usage(compiled.asm["cubin"])
    shared, ptx = int(compiled.metadata.shared), str(compiled.asm["ptx"])
    return Report(arch, seconds, registers, stack, local, shared, ptx, compiled.asm["cubin"])


def compile_many(
    sources: Sequence[str], arch: str, jobs: int, *, samples_divisible_by_16: bool = True
) -> list[Report | ExecutionError]:
    """Compile kernels in processes of their own; what `compile_source` does for each.

    Parameters
    ----------
    sources, arch, samples_divisible_by_16
        See `compile_source`.
    jobs
        How many processes; with one, kernels are compiled in this one.

    Returns
    -------
    list
        A report, or why there is none, for each of the sources.

    Raises
    ------
    UsageError
        As `compile_source` does.
    """
    architecture(arch)
    _require_compiler()
    arguments = sources, repeat(arch), repeat(samples_divisible_by_16)
    if min(jobs, len(sources)) <= 1:
        tried = list(map(_attempt, *arguments))
    else:
        with ProcessPoolExecutor(min(jobs, len(sources)), mp_context=get_context("spawn")) as pool:
            tried = list(pool.map(_attempt, *arguments))
    return [each if isinstance(each, Report) else ExecutionError(each[0], each[1], hint=each[2]) for each in tried]


def _attempt(source: str, arch: str, divisible: bool) -> Report | tuple[str, str, str]:
    """Return a report, or the parts of the refusal: coded errors do not travel between processes."""
    try:
        return compile_source(source, arch, samples_divisible_by_16=divisible)
    except ExecutionError as error:
        return error.code.removeprefix("PL"), error.message, error.hint


def _require_compiler() -> None:
    require_triton()
    from triton import knobs

    if knobs.runtime.interpret:
        hint = "unset TRITON_INTERPRET"
        raise UsageError(
            "1443", "a process that interprets kernels, as TRITON_INTERPRET=1 has it, compiles none", hint=hint
        )


class _Launch:
    """Stands in for a kernel, and keeps what it is launched with."""

    def __getitem__(self, grid: tuple[int, ...]) -> _Launch:
        return self

    def __call__(self, *args: object, **named: object) -> None:
        self.args, self.named = args, named


def _launched(module: ModuleType, samples: int) -> tuple[Any, dict[str, Any], dict[str, Any]]:
    """Return what a module launches: the kernel, its arguments by name, and options."""
    import torch

    def operand(*shape: int) -> torch.Tensor:
        return torch.empty(shape, dtype=module.DTYPE, device="meta")

    def matrix(layout: str, features: int) -> torch.Tensor:
        return operand(samples, features) if layout == "rows" else operand(features, samples)

    kernel, launch = module.kernel, _Launch()
    module.kernel = launch  # type: ignore[attr-defined]  # the module's own global, which its launch looks up
    x, y = matrix(module.READS, module.COLS), matrix(module.WRITES, module.ROWS)
    if hasattr(module, "ks_gradient"):
        module.launch(x, y, torch.empty((2, *module.SHAPE), device="meta"))
    else:
        weights = module.pack(*(operand(*shape) for shape in module.SHAPES))
        epilogue = {"bias": operand(module.ROWS), "residual": matrix(module.WRITES, module.ROWS)}
        module.launch(x, weights, y, **{name: value for name, value in epilogue.items() if name in kernel.arg_names})
    named = dict(zip(kernel.arg_names, launch.args, strict=False)) | launch.named
    arguments = {name: named.pop(name) for name in kernel.arg_names}
    return kernel, arguments, named


def _compile(kernel: Any, arguments: dict[str, Any], options: dict[str, Any], target: Architecture) -> Any:
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    constants = {p.name: arguments[p.name] for p in kernel.params if p.is_constexpr}
    signature = {name: "constexpr" if name in constants else _type(value) for name, value in arguments.items()}
    attributes = {
        (index,): [["tt.divisibility", _ALIGNMENT]]
        for index, (name, value) in enumerate(arguments.items())
        if name not in constants and _aligned(value)
    }
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # on which Triton prints sources that ptxas refuses
            return triton.compile(
                ASTSource(fn=kernel, signature=signature, constexprs=constants, attrs=attributes),
                target=GPUTarget("cuda", target.capability, 32),
                options=options,
            )
    except Exception as error:  # whatever the stages of a compiler raise: an IndexError, too
        lines = [line for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
        raise ExecutionError("0930", f"the kernel does not compile for {target.name}: {lines[-1].strip()}") from error


def _type(value: Any) -> str:
    """Spell the type of an argument as signatures do."""
    if isinstance(value, int):
        return "i32" if value < 2**31 else "i64"
    if hasattr(value, "block_shape"):
        return f"tensordesc<{_name(value.base)}{list(value.block_shape)}>"
    return f"*{_name(value)}"


def _name(tensor: Any) -> str:
    return _TYPES[str(tensor.dtype).removeprefix("torch.")]


def _aligned(value: Any) -> bool:
    """Tell whether a kernel may count on alignment: of numbers, and of addresses, which allocators align."""
    return value % _ALIGNMENT == 0 if isinstance(value, int) else not hasattr(value, "block_shape")


def _usage(cubin: bytes) -> tuple[int, int, int]:
    """Return registers, and bytes of stack and of local memory, per thread."""
    from triton import knobs

    try:
        with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
            file.write(cubin)
            file.flush()
            command = [knobs.nvidia.cuobjdump.path, "-res-usage", file.name]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            registers, stack, local = map(int, _USAGE.findall(done.stdout + done.stderr)[0])
    except (OSError, RuntimeError, subprocess.CalledProcessError, IndexError) as error:
        hint = "cuobjdump comes with Triton's wheels; TRITON_CUOBJDUMP_PATH names another"
        raise ExecutionError("0931", f"cuobjdump does not say what a kernel uses: {error}", hint=hint) from error
    return registers, stack, local
