"""What it costs to count frames: a batch's begin and end, and the take of a shared measurement.

    python benchmarks/ledger.py                      # half a minute
    python benchmarks/ledger.py --folder DIR         # on the disk of DIR; default: the current folder's
    python benchmarks/ledger.py --json out.json

200 clients with three budgets each. `take` is timed with 1, 16 and 200 requests in a measurement, with `synchronous=FULL`
(what the service uses: on the disk when it returns) and with `NORMAL` in turns, so that a busy disk slows both. Median and 99th
percentile; `begin` is also timed while another thread takes without a pause, because it must not wait for the disk.
"""

import argparse
import json
import platform
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from groundglass.service.ledger import Batch, Ledger
from groundglass.service.tokens import Budgets, Client

CLIENTS, SHARED = 200, (1, 16, 200)


def spread(seconds: list[float]) -> tuple[float, float]:
    """Median and 99th percentile, in microseconds."""
    return 1e6 * statistics.median(seconds), 1e6 * statistics.quantiles(seconds, n=100)[98]


def timed(call: Callable[[int], object], times: int) -> tuple[float, float]:
    found = []
    for i in range(times):
        began = time.perf_counter()
        call(i)
        found.append(time.perf_counter() - began)
    return spread(found)


def takes(ledger: Ledger, clients: list[Client], turns: int) -> dict[str, tuple[float, float]]:
    found: dict[str, list[float]] = {}
    for _ in range(turns):
        for level in ("FULL", "NORMAL"):
            ledger._database._writer.execute(f"PRAGMA synchronous = {level}")
            for count in SHARED:
                batches = [ledger.begin(client, "opu", 1) for client in clients[:count]]
                began = time.perf_counter()
                ledger.take([(batch, 1) for batch in batches])
                found.setdefault(f"take of {count} requests, {level}", []).append(time.perf_counter() - began)
                for batch in batches:
                    ledger.end(batch)
    ledger._database._writer.execute("PRAGMA synchronous = FULL")
    return {name: spread(one) for name, one in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path("."))
    parser.add_argument("--turns", type=int, default=400)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder, Ledger(Path(folder) / "state") as ledger:
        made = [ledger.tokens.new(f"client-{i}", budgets=Budgets(10**9, 10**8, 10**7)) for i in range(CLIENTS)]
        clients, token = [client for client, _ in made], made[0][1]
        open_ones: list[Batch] = []
        found = {
            "authenticate": timed(lambda i: ledger.authenticate(token), 5000),
            "begin": timed(lambda i: open_ones.append(ledger.begin(clients[i % CLIENTS], "opu", 1)), 5000),
            "end": timed(lambda i: ledger.end(open_ones[i]), 5000),
            **takes(ledger, clients, options.turns),
        }
        stop = threading.Event()

        def busy() -> None:
            while not stop.is_set():
                batch = ledger.begin(clients[0], "opu", 1)
                ledger.take([(batch, 1)])
                ledger.end(batch)

        other = threading.Thread(target=busy)
        other.start()
        found["begin, while another thread takes"] = timed(
            lambda i: ledger.end(ledger.begin(clients[1], "opu", 1)), 2000
        )
        stop.set()
        other.join()
    print(f"{platform.processor() or platform.machine()}, {CLIENTS} clients; microseconds, median and 99th percentile")
    for name, (median, late) in found.items():
        print(f"{name:36} {median:10,.1f} {late:10,.1f}")
    if options.json:
        options.json.write_text(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
