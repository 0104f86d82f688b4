"""The plan of a study, run by an executor: a cell starts when the records that it needs are there."""

from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait

from groundglass.results import Record, RecordStore
from groundglass.studies.engine.cell import Cell, inputs_of, keep, key_of, prepare
from groundglass.studies.engine.context import Context
from groundglass.studies.engine.estimate import priority
from groundglass.studies.engine.executor import Executor, Task, is_alone
from groundglass.studies.engine.plan import Plan
from groundglass.studies.engine.worker import opened

# Seconds between two looks at what workers say.
_LOOK = 0.1
# So many workers are busy in any order, and in the plan's they find what a cell before has loaded.
_FEW = 2


def in_order(slots: int | None) -> bool:
    """Whether cells start in the order of the plan, not the most urgent first: where so few run side by side."""
    return slots is not None and slots <= _FEW


def run_on(executor: Executor, cells: Sequence[Cell], store: RecordStore, context: Context) -> int:
    """Run every cell that has no record yet; returns how many were run. The executor is closed then.

    Of several cells that can start, the first of the plan does; where there are many workers, the one with the longest chain of
    cells after it. Every cell has its own seed, so what comes out does not depend on who runs it, or when. Cells with a true
    attribute `alone`, whose result is a time, run last and by themselves. This process alone writes records.

    Raises:
        WorkerEndedError: a worker was killed, perhaps because memory ran out; or it imported a script without a main guard.
        Exception: whatever a cell has raised; the others are stopped then, and go on from their checkpoints next time.
    """
    waiting = sorted((cell for cell in cells if key_of(cell) not in store), key=is_alone)
    plan = Plan.of(cells, train=len(context.dataset.train), test=len(context.dataset.test))
    if not in_order(executor.slots):
        urgency = priority(plan)
        waiting.sort(key=lambda cell: (is_alone(cell), -urgency[key_of(cell)]))
    total, fresh = len(cells), len(waiting)
    under_way: dict[Future[bytes], Cell] = {}
    try:
        while waiting or under_way:
            while (ready := _next(waiting, list(under_way.values()), store, executor.slots)) is not None:
                cell, inputs = ready
                waiting.remove(cell)
                context.announce(f"[{total - len(waiting)}/{total}] {cell.name}")
                under_way[executor.submit(_task(cell, inputs, plan, context))] = cell
            assert under_way, "no cell can start: one comes before its inputs"
            done = wait(under_way, timeout=_LOOK, return_when=FIRST_COMPLETED).done
            for name, what, *rest, figures in executor.messages():
                # By the cell's name: others are at work too.
                context.progress(what if name in what else f"{name}, {what}", *rest, **figures)
            _keep_all([future for future in under_way if future in done], store, context)
            for future in done:
                del under_way[future]
    finally:
        executor.close()
    return fresh


def _task(cell: Cell, inputs: Sequence[Record], plan: Plan, context: Context) -> Task:
    return Task(cell, inputs, prepare(cell, inputs, context), plan.memory(key_of(cell)))


def _keep_all(done: Sequence[Future[bytes]], store: RecordStore, context: Context) -> None:
    """Keep what was found. That of others is kept before an error is raised, and a second error does not replace the first."""
    failed: list[Exception] = []
    for future in done:
        try:
            keep(*opened(future.result()), store, context)
        except Exception as error:
            failed.append(error)
    for other in failed[1:]:
        failed[0].add_note(f"{type(other).__name__} in another cell: {other}")
    if failed:
        raise failed[0]


def _next(
    waiting: Sequence[Cell], busy: Sequence[Cell], store: RecordStore, slots: int | None
) -> tuple[Cell, list[Record]] | None:
    """A cell that can start now, with its inputs. One that measures time waits until nothing else is under way, where the
    executor does not see to that."""
    if slots is not None and (len(busy) >= slots or any(map(is_alone, busy))):
        return None
    for cell in waiting:
        if slots is not None and is_alone(cell) and busy:
            return None
        inputs = inputs_of(cell, store)
        if inputs is not None:
            return cell, inputs
    return None
