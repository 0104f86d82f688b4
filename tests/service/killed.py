"""A program that kills ledgers at random moments: FOLDER SEED KIND:ROUNDS ...; prints what was measured and what was counted.

It has one thread, so that it may fork: each round is a child that opens the ledger, and begins, takes and ends batches in
threads. A frame is measured when the child has written a byte to a pipe, which is after `take`.
"""

import json
import os
import random
import signal
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

from groundglass.optics.remote.errors import FrameBudgetError
from groundglass.service.ledger import Ledger
from groundglass.service.tokens import Budgets
from tests.service import budgets

LIMIT, THREADS, PIECE = 100_000, 3, 4
#: Frames that may be counted and not measured when a process dies.
IN_HAND = THREADS * PIECE


def work(ledger: Ledger, token: str, measured: int, seed: int) -> None:
    draw = random.Random(seed)
    client = ledger.authenticate(token)
    while True:
        batch = ledger.begin(client, f"d{draw.randrange(2)}", draw.randint(1, 12))
        while batch.left and draw.random() < 0.9:
            piece = min(batch.left, draw.randint(1, PIECE))
            ledger.take([(batch, piece)])
            os.write(measured, bytes(piece))
        ledger.end(batch)


def child(folder: Path, kind: type[Ledger], token: str, measured: int, seed: int) -> None:
    ledger = kind(folder)
    for i in range(THREADS):
        threading.Thread(target=work, args=(ledger, token, measured, 100 * seed + i), daemon=True).start()
    time.sleep(60)


def killed(folder: Path, kind: type[Ledger], token: str, draw: random.Random) -> int:
    """Frames that were measured before the kill."""
    mine, its = os.pipe()
    seed, after = draw.randrange(10**6), draw.uniform(0.0, 0.03)
    pid = os.fork()
    if pid == 0:
        with suppress(BaseException):
            os.close(mine)
            child(folder, kind, token, its, seed)
        os._exit(1)
    os.close(its)
    # At any moment, or at one when it is at work.
    seen = len(os.read(mine, 1)) if draw.random() < 0.6 else 0
    time.sleep(after)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    while piece := os.read(mine, 65_536):
        seen += len(piece)
    os.close(mine)
    return seen


def rounds(folder: Path, kind: type[Ledger], count: int, draw: random.Random) -> list[dict[str, int]]:
    with Ledger(folder) as ledger:
        client, token = ledger.tokens.new("lab", budgets=Budgets(LIMIT))
    found = []
    for _ in range(count):
        seen = killed(folder, kind, token, draw)
        with Ledger(folder) as ledger:
            counted = sum(one.frames for one in ledger.usage())
            found.append({"seen": seen, "counted": counted, "left": ledger.left(client).frames or 0})
    if kind is Ledger:  # and to the end
        with Ledger(folder) as ledger:
            rest = ledger.left(client).frames or 0
            batch = ledger.begin(client, "d0", rest)
            ledger.take([(batch, rest)])
            over = 0
            with suppress(FrameBudgetError):
                over = ledger.begin(client, "d1", 1).rows
            found.append({"seen": rest, "counted": sum(one.frames for one in ledger.usage()), "left": over})
    return found


if __name__ == "__main__":
    folder, seed, *asked = sys.argv[1:]
    answer = {}
    for one in asked:
        name, count = one.split(":")
        kind = Ledger if name == "Ledger" else getattr(budgets, name)
        answer[name] = rounds(Path(folder) / name, kind, int(count), random.Random(int(seed)))
    print(json.dumps(answer))
