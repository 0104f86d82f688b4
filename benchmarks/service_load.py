"""Many clients at a device service at once, and the same while it is ended and started again: throughput, waits, shares, counts.

    python benchmarks/service_load.py                # 200 clients, N=1024, M=8000: about two minutes
    python benchmarks/service_load.py --small        # seconds

Every client asks a bounded number of times for a few rows over a Unix socket; the service is a process of its own, without a
frame rate. It is left alone; ended by SIGTERM every few seconds; killed by SIGKILL every few seconds, and begun again each time.
A row for each: frames a second; a request's wait, median, 99th percentile and longest, restarts included; Jain's index of
the frames that each client had when the first was through; frames that were answered, and counted. Counted and not answered
are at most those that were measured and on their way when the service ended. Fails if an answer is wrong, if a client was
refused, or if a frame was answered that is not counted.
"""

import argparse
import os
import platform
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from groundglass.optics import RemoteOPU, SimulatedOPU
from groundglass.service.counts import read_counts
from groundglass.service.database import Database
from groundglass.service.tokens import Tokens
from service_kills import started

_COLUMNS = "{:9s} {:>8s} {:>9s} {:>10s} {:>8s} {:>8s} {:>8s} {:>7s} {:>9s} {:>9s} {:>9s}"
_HEAD = (
    *("ended by", "restarts", "requests", "frames/s", "p50 ms", "p99 ms", "max s", "Jain"),
    *("answered", "counted", "at most*"),
)


@dataclass(frozen=True)
class Sizes:
    """What is asked: bounded."""

    inputs: int = 1024
    outputs: int = 8000
    clients: int = 200
    asked: int = 15
    rows: int = 8
    restarts: int = 3


SMALL = Sizes(inputs=128, outputs=500, clients=10, asked=40, restarts=1)


class Load:
    """All clients, each in a thread."""

    def __init__(
        self, address: str, tokens: Sequence[str], sizes: Sizes, bits: torch.Tensor, right: torch.Tensor
    ) -> None:
        self._sizes, self._bits, self._right = sizes, bits, right
        self._devices = [RemoteOPU(address, token=token, timeout=600) for token in tokens]
        self.got = [0] * len(tokens)
        self.waits: list[float] = []
        self.faults: list[str] = []
        self.at_first: list[int] = []
        self._begin = threading.Barrier(len(tokens) + 1)
        self._threads = [threading.Thread(target=self._work, args=(k,)) for k in range(len(tokens))]

    def _work(self, k: int) -> None:
        self._begin.wait()
        for _ in range(self._sizes.asked):
            before = time.perf_counter()
            try:
                readings = self._devices[k].measure(self._bits)
            except Exception as error:  # it is reported, and fails the run
                self.faults.append(f"{type(error).__name__}: {error}")
                return
            self.waits.append(time.perf_counter() - before)
            self.got[k] += len(readings)
            if not torch.equal(readings, self._right):
                self.faults.append("a wrong reading")
        self.at_first = self.at_first or list(self.got)

    def run(
        self, process: "subprocess.Popen[str]", folder: Path, how: signal.Signals | None, seed: int
    ) -> tuple["subprocess.Popen[str]", float, int]:
        """Until all are through; the service that is there then, seconds, and how often it was begun again."""
        moments, restarts = random.Random(seed), 0
        for thread in self._threads:
            thread.start()
        self._begin.wait()
        began = time.perf_counter()
        while how is not None and restarts < self._sizes.restarts:
            time.sleep(moments.uniform(0.3, 1.5))
            if not any(thread.is_alive() for thread in self._threads):
                break
            process.send_signal(how)
            process.wait()
            process, restarts = started(folder), restarts + 1
        for thread in self._threads:
            thread.join()
        return process, time.perf_counter() - began, restarts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="small sizes: whether it runs, not how fast")
    parser.add_argument("--seed", type=int, default=1, help="of the moments at which it is ended")
    options = parser.parse_args()
    sizes, right = SMALL if options.small else Sizes(), True
    print(
        f"{platform.machine()}, {os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}, torch {torch.__version__}; {sizes}"
    )
    print(_COLUMNS.format(*_HEAD))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        SimulatedOPU.create(sizes.inputs, sizes.outputs).save(folder / "lab.device")
        here = SimulatedOPU.load(folder / "lab.device")
        draws = torch.Generator().manual_seed(1)
        bits = torch.randint(0, 2, (sizes.rows, sizes.inputs), generator=draws, dtype=torch.uint8)
        database = Database(folder / "state", create=True)
        process = started(folder)
        for how in (None, signal.SIGTERM, signal.SIGKILL):
            made = [Tokens(database).new(f"{how.name if how else 'none'}-{k}") for k in range(sizes.clients)]
            load = Load(f"unix://{folder / 's'}#lab", [token for _, token in made], sizes, bits, here.measure(bits))
            process, seconds, restarts = load.run(process, folder, how, options.seed)
            counts = read_counts(database)
            counted, answered = sum(counts[who.id, "lab"].frames for who, _ in made), sum(load.got)
            most = answered + restarts * sizes.clients * sizes.rows
            cuts = statistics.quantiles(load.waits, n=100)
            had = load.at_first
            jain = sum(had) ** 2 / (len(had) * sum(one * one for one in had))
            told = (how.name if how else "nobody", f"{restarts}", f"{len(load.waits):,}", f"{answered / seconds:,.0f}")
            waits = f"{1e3 * cuts[49]:.0f}", f"{1e3 * cuts[98]:.0f}", f"{max(load.waits):.1f}"
            print(_COLUMNS.format(*told, *waits, f"{jain:.3f}", f"{answered:,}", f"{counted:,}", f"{most:,}"))
            for fault in sorted(set(load.faults)):
                print(f"  {load.faults.count(fault)} times {fault}")
            short = any(counts[who.id, "lab"].frames < got for (who, _), got in zip(made, load.got, strict=True))
            right &= not load.faults and not short and counted <= most
        process.send_signal(signal.SIGTERM)
        process.wait()
        database.close()
    print("* each client had one request, which may have been measured and not answered when the service ended")
    print("every frame counted, and none too many" if right else "NOT AS IT SHOULD BE")
    sys.exit(not right)


if __name__ == "__main__":
    main()
