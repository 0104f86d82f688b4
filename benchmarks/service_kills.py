"""A device service is killed with SIGKILL at random moments, under load, and started again: is every frame counted, and no more?

    python benchmarks/service_kills.py --kills 6     # about two minutes, most of it starting again

Clients ask until their budgets are at an end. Afterwards: every answer was right; each client's count is at most its budget, and
at least what it was answered; and none waited for a service that did not come back. Prints both numbers for each client, and
fails if one of these is not so.
"""

import argparse
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import torch

from groundglass.optics import RemoteOPU, SimulatedOPU
from groundglass.optics.remote.errors import DeviceServiceError, FrameBudgetError
from groundglass.service.counts import read_counts
from groundglass.service.database import Database
from groundglass.service.tokens import Budgets, Tokens

N, M = 70, 45


def started(folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "groundglass.cli", "device", "serve", f"lab={folder / 'lab.device'}"]
    options = ["--state", str(folder / "state"), "--socket", str(folder / "s"), "--frame-rate", "none"]
    with (folder / "log").open("a") as log:
        process = subprocess.Popen([*command, *options], stdout=subprocess.PIPE, stderr=log, text=True)
    assert process.stdout is not None
    while (line := process.stdout.readline()) and not line.startswith("ready"):
        pass
    if not line:
        raise SystemExit((folder / "log").read_text())
    return process


class Client(threading.Thread):
    """Asks until it is refused."""

    def __init__(self, address: str, token: str, here: SimulatedOPU, rows: int) -> None:
        super().__init__()
        self.device, self.here, self.rows = RemoteOPU(address, token=token, timeout=120), here, rows
        self.answered, self.wrong, self.ended = 0, 0, ""

    def run(self) -> None:
        draws = torch.Generator().manual_seed(self.rows)
        while not self.ended:
            bits = torch.randint(0, 2, (self.rows, N), generator=draws, dtype=torch.uint8)
            try:
                readings = self.device.measure(bits)
            except DeviceServiceError as error:
                self.ended = type(error).__name__
                return
            self.answered += len(bits)
            self.wrong += not torch.equal(readings, self.here.measure(bits))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=6)
    parser.add_argument("--frames", type=int, default=3000, help="the budget of each of four clients")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    moments = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        SimulatedOPU.create(N, M).save(folder / "lab.device")
        database = Database(folder / "state", create=True)
        tokens = [Tokens(database).new(f"client-{k}", budgets=Budgets(frames=options.frames)) for k in range(4)]
        process, here = started(folder), SimulatedOPU.load(folder / "lab.device")
        clients = [Client(f"unix://{folder / 's'}#lab", token, here, 1 + 10 * k) for k, (_, token) in enumerate(tokens)]
        for client in clients:
            client.start()
        kills = 0
        while kills < options.kills and any(client.is_alive() for client in clients):
            time.sleep(moments.uniform(0.2, 1.5))
            process.send_signal(signal.SIGKILL)
            process.wait()
            kills += 1
            process = started(folder)
        for client in clients:
            client.join()
        process.send_signal(signal.SIGTERM)
        process.wait()
        counts, right = read_counts(database), True
        for client, (who, _) in zip(clients, tokens, strict=True):
            counted = counts[who.id, "lab"].frames
            print(
                f"{who.name}: answered {client.answered}, counted {counted} of {options.frames}, ended by {client.ended}"
            )
            right &= client.answered <= counted <= options.frames and not client.wrong
            right &= client.ended == FrameBudgetError.__name__
        database.close()
    print(f"{kills} kills: {'every frame counted, and none too many' if right else 'NOT AS IT SHOULD BE'}")
    sys.exit(not right)


if __name__ == "__main__":
    main()
