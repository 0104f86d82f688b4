"""How fast the simulated device is, against the complex64 product that it stands for, and the machine's own peak.

    python benchmarks/device.py                      # N=1024, M=8000, batch 1024, two threads: about a minute
    python benchmarks/device.py --json out.json

Everything is measured in one run, in turns; ratios are of neighbouring turns, so a busy machine slows both sides.
Wall time and CPU time (of all threads) are both given: where other work takes the processor away, trust the second.

- `abs(X @ U) ** 2` in complex64 (the reference) and every exact kernel: seconds, ratios, agreement bit for bit;
- the way of a graphics card, torch's operations alone, on this processor: no faster here, and the same readings;
- memory of the matrix in bytes a complex entry;
- the fraction of the machine's integer matrix peak, defined as: multiply-adds of the product (2 N M a row: real and
  imaginary part) a CPU second, over the most int8 or int16 multiply-adds a CPU second of one thread with all operands
  in registers: the best of `vpmaddubsw` + add and `vpmaddwd` + add, where there is AVX2, a plain vector multiply and
  add of int16, and `torch._int_mm` on square matrices (which finds AMX and VNNI). Look-up tables do not multiply, so
  they may pass 1. What bounds them is one int16 addition for each group of bits, of an operand in level-1 cache: the
  fraction of that peak is given as well.
"""

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from llvmlite import ir
from numba import njit, types, uintp
from numba.extending import intrinsic

from groundglass.kernels.kernel_choice import fastest_kernel
from groundglass.kernels.memory import Output, aligned
from groundglass.kernels.products import FloatGemm, Int8Gemm, Kernel, LookupTables, MaskedSum, group_of
from groundglass.kernels.tensor import as_on_a_card
from groundglass.optics import SimulatedOPU, true_matrix

_CARD = "a card's way, here"


@dataclass(frozen=True)
class Timing:
    """Of some turns: wall and CPU seconds, and the reference's of the same turn over these."""

    name: str
    wall: tuple[float, ...]
    cpu: tuple[float, ...]
    wall_ratios: tuple[float, ...]
    cpu_ratios: tuple[float, ...]


# ---- the peak of the machine -------------------------------------------------------------------------------------


def _peak_loop(step: Callable[[Any, Any, Any], Any], registers: int, loads: bool) -> Any:
    """A compiled function (address, times) that applies `step` to `registers` vectors of 256 bits, over and over.

    With `loads`, the second operand comes from level-1 cache every time.
    """

    @intrinsic
    def burn(typingctx: Any, address: Any, times: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            address, times = args
            vector = ir.VectorType(ir.IntType(16), 16)
            pointer = builder.inttoptr(address, vector.as_pointer())
            before, loop, after = builder.block, builder.append_basic_block(), builder.append_basic_block()
            operand = builder.load(pointer, align=32)
            starts = [builder.load(builder.gep(pointer, [ir.IntType(64)(i)]), align=32) for i in range(registers)]
            builder.branch(loop)
            builder.position_at_end(loop)
            count = builder.phi(times.type)
            count.add_incoming(times.type(0), before)
            values = [builder.phi(vector) for _ in range(registers)]
            ends = []
            for i, (value, start) in enumerate(zip(values, starts, strict=True)):
                value.add_incoming(start, before)
                if loads:
                    # From another place each time: otherwise the compiler would load it once.
                    place = builder.add(
                        builder.mul(builder.and_(count, count.type(7)), count.type(registers)), count.type(i)
                    )
                    operand = builder.load(builder.gep(pointer, [place]), align=32)
                ends.append(step(builder, value, operand))
            for value, end in zip(values, ends, strict=True):
                value.add_incoming(end, loop)
            following = builder.add(count, times.type(1))
            count.add_incoming(following, loop)
            builder.cbranch(builder.icmp_unsigned("<", following, times), loop, after)
            builder.position_at_end(after)
            for i, end in enumerate(ends):
                builder.store(end, builder.gep(pointer, [ir.IntType(64)(i)]), align=32)
            return context.get_dummy_value()

        return types.void(types.uintp, types.uintp), codegen

    @njit(nogil=True)
    def run(data: Any, times: Any) -> None:
        burn(uintp(data.ctypes.data), uintp(times))

    return run


def _call(builder: Any, name: str, result: Any, *args: Any) -> Any:
    module = builder.module
    kind = ir.FunctionType(result, [arg.type for arg in args])
    function = module.globals.get(name) or ir.Function(module, kind, name)
    return builder.call(function, args)


def _maddubs(builder: Any, value: Any, operand: Any) -> Any:
    """32 products of int8, summed in pairs, added to int16."""
    bytes_ = ir.VectorType(ir.IntType(8), 32)
    left, right = builder.bitcast(operand, bytes_), builder.bitcast(value, bytes_)
    return builder.add(value, _call(builder, "llvm.x86.avx2.pmadd.ub.sw", value.type, left, right))


def _maddwd(builder: Any, value: Any, operand: Any) -> Any:
    """16 products of int16, summed in pairs, added to int32."""
    words = ir.VectorType(ir.IntType(32), 8)
    pairs = _call(builder, "llvm.x86.avx2.pmadd.wd", words, operand, value)
    return builder.bitcast(builder.add(builder.bitcast(value, words), pairs), value.type)


def _mul_add(builder: Any, value: Any, operand: Any) -> Any:
    return builder.add(value, builder.mul(value, operand))


def _add(builder: Any, value: Any, operand: Any) -> Any:
    return builder.add(value, operand)


def _rate(step: Callable[[Any, Any, Any], Any], per_step: int, *, loads: bool = False) -> float:
    """Operations a CPU second of one thread: the best of some repeats."""
    # Enough vectors to hide the latency of a step, few enough for 16 registers.
    registers, times = 12, 1_000_000
    loop = _peak_loop(step, registers, loads)
    data = aligned(8 * 16 * registers, np.int16)
    data[:] = 1
    loop(data, 10)
    best = 0.0
    for _ in range(8):
        start = time.thread_time()
        loop(data, times)
        best = max(best, times * registers * per_step / (time.thread_time() - start))
    return best


def _int_mm_rate() -> float:
    """Multiply-adds a CPU second of `torch._int_mm`, on a size that is small enough where it is slow."""
    best, size = 0.0, 256
    while size <= 2048:
        a = torch.ones(size, size, dtype=torch.int8)
        try:
            torch._int_mm(a, a)
            start = time.process_time()
            torch._int_mm(a, a)
        except RuntimeError:
            break
        seconds = time.process_time() - start
        best = max(best, size**3 / seconds)
        if seconds > 0.05:
            break
        size *= 2
    return best


def peaks() -> dict[str, float]:
    """Multiply-adds a CPU second, by several ways."""
    found = {"int16 vector multiply, add": _rate(_mul_add, 16)}
    if platform.machine() in ("x86_64", "AMD64") and torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512"):
        found["int8 vpmaddubsw, add"] = _rate(_maddubs, 32)
        found["int16 vpmaddwd, add"] = _rate(_maddwd, 16)
    found["int8 torch._int_mm"] = _int_mm_rate()
    return found


# ---- the device --------------------------------------------------------------------------------------------------


def in_turns(contenders: dict[str, Callable[[], Any]], repeats: int) -> list[Timing]:
    """Time each, one after the other, `repeats` times; the first is the reference of the ratios."""
    wall: dict[str, list[float]] = {name: [] for name in contenders}
    cpu: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(repeats + 1):
        for name, run in contenders.items():
            start, start_cpu = time.perf_counter(), time.process_time()
            run()
            if turn:  # the first compiles, and fills caches
                wall[name].append(time.perf_counter() - start)
                cpu[name].append(time.process_time() - start_cpu)
    first = next(iter(contenders))

    def ratios(seconds: dict[str, list[float]], name: str) -> tuple[float, ...]:
        return tuple(a / b for a, b in zip(seconds[first], seconds[name], strict=True))

    return [Timing(n, tuple(wall[n]), tuple(cpu[n]), ratios(wall, n), ratios(cpu, n)) for n in contenders]


def readings_of(kernel: Kernel, bits: torch.Tensor, device: SimulatedOPU) -> torch.Tensor:
    out = Output.of_readings(len(bits), device.out_features, device.exposure.gain, 255)
    kernel.fill(bits, device._medium, out)
    return out.tensor


def as_a_card_does(bits: torch.Tensor, device: SimulatedOPU) -> torch.Tensor:
    """A measurement by torch's operations alone."""
    with as_on_a_card():
        return device.measure(bits)


def benchmark(inputs: int, outputs: int, batch: int, repeats: int, threads: int) -> dict[str, Any]:
    torch.set_num_threads(threads)
    device = SimulatedOPU.create(inputs, outputs, seed=0)
    matrix = device._medium
    bits = torch.randint(0, 2, (batch, inputs), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    x, u = bits.to(torch.complex64), true_matrix(device).T.contiguous()
    kernels: list[Kernel] = [FloatGemm(), LookupTables()]
    if batch <= 64:
        kernels.append(MaskedSum())
    int8 = Int8Gemm()
    # Where it is many times slower than the rest it is measured on fewer rows, and not in turns.
    few = bits[:32]
    slow = in_turns({k.name: lambda k=k: readings_of(k, few, device) for k in (FloatGemm(), int8)}, 1)  # type: ignore[misc]
    int8_slower = min(slow[1].cpu) / min(slow[0].cpu)
    if int8_slower < 3:
        kernels.append(int8)
    contenders: dict[str, Callable[[], Any]] = {"complex64 reference": lambda: (x @ u).abs() ** 2}
    for kernel in kernels:
        contenders[kernel.name] = lambda kernel=kernel: readings_of(kernel, bits, device)  # type: ignore[misc]
    contenders[_CARD] = lambda: as_a_card_does(bits, device)
    contenders["SimulatedOPU.measure"] = lambda: device.measure(bits)
    timings = in_turns(contenders, repeats)
    first = device.measure(bits)
    agree = all(torch.equal(readings_of(k, bits, device), first) for k in kernels)
    agree &= torch.equal(readings_of(int8, few, device), first[:32])
    agree &= torch.equal(as_a_card_does(bits, device), first)
    off = ((x @ u).abs() ** 2).add_(0.5).floor_().clamp_(0, 255).to(torch.uint8)
    peak, peak_additions = peaks(), _rate(_add, 16, loads=True)
    work = matrix.tiles.size * batch / min(timings[-1].cpu)
    lookup = next(t for t in timings if t.name == LookupTables.name)
    groups = -(-inputs // group_of(min(batch, 1024)))
    return {
        "inputs": inputs,
        "outputs": outputs,
        "batch": batch,
        "threads": threads,
        "repeats": repeats,
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "timings": [asdict(t) for t in timings],
        "int8_gemm_slower_than_float32": int8_slower,
        "chosen": fastest_kernel(batch, matrix).name,
        "kernels_agree": agree,
        "readings_that_complex64_rounds_otherwise": (off != first).double().mean().item(),
        "bytes_an_entry": matrix.nbytes / (inputs * outputs),
        "multiply_adds_per_cpu_second": work,
        "peaks": peak,
        "fraction_of_integer_matrix_peak": work / max(peak.values()),
        "additions_per_cpu_second": groups * matrix.tiles[:, 0].size * batch / min(lookup.cpu),
        "peak_additions": peak_additions,
    }


def show(result: dict[str, Any]) -> None:
    print(
        f"N={result['inputs']}, M={result['outputs']}, batch {result['batch']}, {result['threads']} threads, "
        f"{result['cpu_capability']}, {result['repeats']} turns; chosen: {result['chosen']}\n"
    )
    print(f"{'':24}{'wall s':>17}{'faster':>9}{'':17}{'CPU s':>8}{'faster':>9}")
    print(
        f"{'':24}{'least':>8}{'median':>9}{'median':>9}{'least to most':>17}{'least':>8}{'median':>9}{'least to most':>17}"
    )
    for t in result["timings"]:
        times, ratios, cpu_ratios = t["wall"], t["wall_ratios"], t["cpu_ratios"]
        spread, cpu_spread = (f"{min(r):.1f} to {max(r):.1f}" for r in (ratios, cpu_ratios))
        print(
            f"{t['name']:24}{min(times):8.3f}{statistics.median(times):9.3f}{statistics.median(ratios):9.2f}{spread:>17}"
            f"{min(t['cpu']):8.3f}{statistics.median(cpu_ratios):9.2f}{cpu_spread:>17}"
        )
    print(f"\nint8 gemm, 32 rows: {result['int8_gemm_slower_than_float32']:.1f} x the CPU time of float32 gemm")
    print(f"kernels agree bit for bit: {result['kernels_agree']}")
    print(f"readings that complex64 rounds otherwise: {result['readings_that_complex64_rounds_otherwise']:.1e}")
    print(f"memory: {result['bytes_an_entry']:.3f} bytes a complex entry (complex64: 8)\n")
    for name, rate in result["peaks"].items():
        print(f"{name:28}{rate / 1e9:8.1f} G multiply-adds a CPU second")
    fraction = result["fraction_of_integer_matrix_peak"]
    print(
        f"{'device':28}{result['multiply_adds_per_cpu_second'] / 1e9:8.1f} = {fraction:.2f} of the integer matrix peak"
    )
    additions, most = result["additions_per_cpu_second"], result["peak_additions"]
    print(
        f"{'look-up tables':28}{additions / 1e9:8.1f} G int16 additions a CPU second = {additions / most:.2f} of the "
        f"{most / 1e9:.1f} G that operands in level-1 cache allow"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--inputs", type=int, default=1024)
    parser.add_argument("--outputs", type=int, default=8000)
    parser.add_argument("--batch", type=int, default=1024)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    result = benchmark(options.inputs, options.outputs, options.batch, options.repeats, options.threads)
    show(result)
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
