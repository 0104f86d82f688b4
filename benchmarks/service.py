"""A device at a service against the same device in process: throughput, single rows, and the shares of many clients.

    python benchmarks/service.py                     # N=1024, M=8000, batch 1024, 200 clients: about a minute
    python benchmarks/service.py --small             # seconds

Everything is measured in one run over a Unix socket, the service in a process of its own without a frame rate. Throughput is
measured in turns, and ratios are of neighbouring turns, so a busy machine slows both sides. CPU time is that of both processes:
where other work takes the processors away, trust it more.

- a batch in process and at the service: wall and CPU time, median and quartiles, and the ratio; bit for bit the same;
- a row at a time: median and 99th percentile, in process, at the service, and at the service while another client sends batches;
- many clients at once, of which one asks for ever larger batches: frames that each got until the first one was through with its
  own, and Jain's index of their shares (1: all equal).
"""

import argparse
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from groundglass.optics import OpticalDevice, RemoteOPU, SimulatedOPU
from groundglass.service.database import Database
from groundglass.service.tokens import Tokens

_TICK = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Sizes:
    """What is measured: bounded."""

    inputs: int = 1024
    outputs: int = 8000
    batch: int = 1024
    turns: int = 60
    rows: int = 1000
    clients: int = 200
    asked: int = 10
    asked_rows: int = 32


SMALL = Sizes(inputs=128, outputs=500, batch=128, turns=10, rows=100, clients=20, asked=5)


@contextmanager
def served(sizes: Sizes, folder: Path) -> Iterator[tuple[SimulatedOPU, str, Callable[[str], str], int]]:
    """The device here, its address at the service, what makes tokens, and the service's process."""
    SimulatedOPU.create(sizes.inputs, sizes.outputs).save(folder / "lab.device")
    database = Database(folder / "state", create=True)
    command = [sys.executable, "-m", "groundglass.cli", "device", "serve", f"lab={folder / 'lab.device'}"]
    options = ["--state", str(folder / "state"), "--socket", str(folder / "s"), "--frame-rate", "none"]
    with (
        (folder / "log").open("w") as log,
        subprocess.Popen([*command, *options], stdout=subprocess.PIPE, stderr=log, text=True) as process,
    ):
        try:
            assert process.stdout is not None
            while (line := process.stdout.readline()) and not line.startswith("ready"):
                pass
            if not line:
                raise SystemExit((folder / "log").read_text())
            here = SimulatedOPU.load(folder / "lab.device")
            tokens = Tokens(database)
            yield here, f"unix://{folder / 's'}#lab", lambda name: tokens.new(name)[1], process.pid
        finally:
            process.send_signal(signal.SIGTERM)
    database.close()


def cpu_of(pid: int) -> float:
    """Seconds of a process, of all of its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


def spread(values: Sequence[float]) -> str:
    low, middle, high = statistics.quantiles(values, n=4)
    return f"{middle:.4g} ({low:.4g} to {high:.4g})"


def throughput(here: OpticalDevice, there: OpticalDevice, bits: Tensor, turns: int, pid: int) -> None:
    assert torch.equal(here.measure(bits), there.measure(bits)), "these are not the same readings"
    for device in (here, there):
        device.measure(bits)
    wall: dict[str, list[float]] = {"in process": [], "at the service": []}
    cpu = dict.fromkeys(wall, 0.0)
    for _ in range(turns):
        for name, device in zip(wall, (here, there), strict=True):
            cpu_before, before = time.process_time() + cpu_of(pid), time.perf_counter()
            device.measure(bits)
            wall[name].append(time.perf_counter() - before)
            cpu[name] += time.process_time() + cpu_of(pid) - cpu_before
    for name, seconds in wall.items():
        print(
            f"  {name:15s} ms a batch {spread([1e3 * s for s in seconds])}, CPU ms {1e3 * cpu[name] / turns:.1f}, "
            f"{len(bits) / statistics.median(seconds):,.0f} rows a second"
        )
    ratios = [a / b for a, b in zip(*wall.values(), strict=True)]
    print(f"  throughput at the service over that in process: {spread(ratios)}; of the CPU time: ", end="")
    print(f"{cpu['in process'] / cpu['at the service']:.3f}")


def one_by_one(name: str, device: OpticalDevice, bits: Tensor, count: int) -> None:
    seconds = []
    for k in range(count):
        row = bits[k % len(bits)][None]
        before = time.perf_counter()
        device.measure(row)
        seconds.append(1e3 * (time.perf_counter() - before))
    cuts = statistics.quantiles(seconds, n=100)
    print(f"  {name:42s} ms a row: median {cuts[49]:.2f}, 99th percentile {cuts[98]:.2f}")


def beside_batches(there: RemoteOPU, other: RemoteOPU, bits: Tensor, count: int) -> None:
    """Single rows while another client sends batches."""
    ending = threading.Event()

    def load() -> None:
        while not ending.is_set():
            other.measure(bits)

    thread = threading.Thread(target=load)
    thread.start()
    one_by_one("at the service, beside another's batches", there, bits, count)
    ending.set()
    thread.join()


def shares(address: str, token: Callable[[str], str], bits: Tensor, sizes: Sizes) -> None:
    """Clients at once, each `asked` times; the first one asks for batches, for as long as any of the others is at it."""
    got = [0] * sizes.clients
    devices = [RemoteOPU(address, token=token(f"client-{k}"), timeout=300) for k in range(sizes.clients)]
    first = threading.Event()
    at_first: list[int] = []
    begin = threading.Barrier(sizes.clients + 1)
    waits: list[float] = []

    def work(k: int) -> None:
        begin.wait()
        rows = bits if k == 0 else bits[: sizes.asked_rows]
        for _ in range(sizes.asked):
            before = time.perf_counter()
            devices[k].measure(rows)
            if k:
                waits.append(time.perf_counter() - before)
            got[k] += len(rows)
        if k and not first.is_set():
            first.set()
            at_first.extend(got)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(sizes.clients)]
    for thread in threads:
        thread.start()
    begin.wait()
    before = time.perf_counter()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - before
    small = at_first[1:]
    jain = sum(small) ** 2 / (len(small) * sum(one * one for one in small))
    print(f"  {sizes.clients} clients: {sum(got):,} frames in {seconds:.1f} s, {sum(got) / seconds:,.0f} a second")
    print(
        f"  when the first was through: {min(small)} to {max(small)} frames each, median {statistics.median(small):g}, Jain's "
        f"index {jain:.3f}; the one with batches had {at_first[0]}"
    )
    cuts = statistics.quantiles(waits, n=100)
    print(f"  {sizes.asked_rows} rows of one of them: median {cuts[49]:.2f} s, 99th percentile {cuts[98]:.2f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="small sizes: whether it runs, not how fast")
    parser.add_argument("--threads", type=int, default=2, help="of torch, in process")
    options = parser.parse_args()
    sizes = SMALL if options.small else Sizes()
    torch.set_num_threads(options.threads)
    print(
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} processors, torch {torch.__version__}; {sizes}"
    )
    bits = torch.randint(
        0, 2, (sizes.batch, sizes.inputs), dtype=torch.uint8, generator=torch.Generator().manual_seed(1)
    )
    with tempfile.TemporaryDirectory() as folder, served(sizes, Path(folder)) as (here, address, token, pid):
        there, other = (RemoteOPU(address, token=token(name), timeout=300) for name in ("one", "other"))
        print(f"batches of {sizes.batch}:")
        throughput(here, there, bits, sizes.turns, pid)
        print("single rows:")
        one_by_one("in process", here, bits, sizes.rows)
        one_by_one("at the service", there, bits, sizes.rows)
        beside_batches(there, other, bits, sizes.rows // 10)
        print("many clients:")
        shares(address, token, bits, sizes)


if __name__ == "__main__":
    main()
