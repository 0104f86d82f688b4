"""Ledgers with a clock of the test's own, and ledgers that count wrongly: what the tests of budgets must notice."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from groundglass.service.counts import write_counts
from groundglass.service.ledger import Batch, Ledger

#: Noon of a day.
NOON = 20_000 * 86_400 + 43_200.0


class Hands:
    """A system's clock that may be set, and one that may not."""

    def __init__(self, now: float = NOON) -> None:
        self.wall, self.steady = now, 0.0

    def pass_by(self, seconds: float) -> None:
        self.wall += seconds
        self.steady += seconds

    def open(self, folder: Path, kind: "type[Ledger]" = Ledger) -> Ledger:
        return kind(folder, wall=lambda: self.wall, steady=lambda: self.steady)


class CountsAfterwards(Ledger):
    """Counts when a batch ends: after the measurement."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._measured: dict[Batch, int] = {}

    def take(self, taken: Sequence[tuple[Batch, int]]) -> None:
        for batch, count in taken:
            self._measured[batch] = self._measured.get(batch, 0) + count
            batch.left -= count

    def end(self, batch: Batch) -> None:
        time.sleep(0.002)  # the measurement
        if count := self._measured.pop(batch, 0):
            batch.left += count
            super().take([(batch, count)])
        super().end(batch)


class CountsByTwoSteps(Ledger):
    """Reads the counts, and writes them later, with nothing to keep others out between the two."""

    def take(self, taken: Sequence[tuple[Batch, int]]) -> None:
        for batch, count in taken:
            key = batch.client.id, batch.device
            with self._memory:
                counted = {key: self._count(key).plus(count, self.clock.now())}
                batch.left -= count
                batch.in_hand += count
            time.sleep(0.0005)  # for the others
            with self._database.write() as connection:
                write_counts(connection, counted)
            with self._memory:
                self._settle([batch], counted)


class ChecksWithoutReserving(Ledger):
    """Looks whether there is room, and forgets what it has promised."""

    def begin(self, *args: Any, **kwargs: Any) -> Batch:
        batch = super().begin(*args, **kwargs)
        with self._memory:
            self._reserved.clear()
        return batch

    def _release(self, id: str, frames: int) -> None:
        pass
