"""How long a plan takes on so many workers, without running it."""

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Timed:
    """A cell whose seconds are known.

    Attributes:
        inputs: keys of the cells that it needs; those that are not among the cells are there already.
        alone: it measures time, so it has a computer to itself.
    """

    key: str
    seconds: float
    inputs: tuple[str, ...] = ()
    alone: bool = False


def remaining(cells: Sequence[Timed]) -> dict[str, float]:
    """Seconds from the start of each cell to the end of the longest chain of cells that begins with it.

    Args:
        cells: inputs first.
    """
    after: dict[str, float] = {}
    found: dict[str, float] = {}
    for cell in reversed(cells):
        found[cell.key] = cell.seconds + after.get(cell.key, 0.0)
        for needed in cell.inputs:
            after[needed] = max(after.get(needed, 0.0), found[cell.key])
    return found


def longest_chain(cells: Sequence[Timed]) -> list[Timed]:
    """The critical path: no number of workers is done before it is."""
    left = remaining(cells)
    known = {cell.key: cell for cell in cells}
    chain: list[Timed] = []
    ready = [cell for cell in cells if not any(key in known for key in cell.inputs)]
    users: dict[str, list[Timed]] = {}
    for cell in cells:
        for key in cell.inputs:
            users.setdefault(key, []).append(cell)
    while ready:
        chain.append(max(ready, key=lambda cell: left[cell.key]))
        ready = users.get(chain[-1].key, [])
    return chain


def bound(cells: Sequence[Timed], workers: int) -> float:
    """Seconds that no order of cells can beat on so many workers: their share of the whole, or the longest chain."""
    return max(sum(cell.seconds for cell in cells) / workers, max(remaining(cells).values(), default=0.0))


def simulate(
    cells: Sequence[Timed], workers: int, *, nodes: int = 1, priority: Mapping[str, float] | None = None
) -> float:
    """Seconds until all cells are done, by the engine's rule: of those that can start the first one does; cells that are `alone`
    come when no other can start, on a computer on which nothing else is under way.

    Args:
        cells: in the order of the plan, inputs first.
        workers: of all computers; each computer has an equal share.
        nodes: computers.
        priority: of each key: the highest first; None: in the order of the plan.

    Raises:
        ValueError: fewer workers than computers.
    """
    if not 1 <= nodes <= workers:
        raise ValueError(f"{workers} workers cannot be on {nodes} computers")
    rank = {c.key: (0.0 if priority is None else -priority[c.key], place) for place, c in enumerate(cells)}
    users: dict[str, list[Timed]] = {}
    missing = {}
    for cell in cells:
        needed = [key for key in dict.fromkeys(cell.inputs) if key in rank]
        missing[cell.key] = len(needed)
        for key in needed:
            users.setdefault(key, []).append(cell)
    # A heap of those that can start, for each of the two kinds.
    ready: tuple[list[tuple[float, int]], list[tuple[float, int]]] = ([], [])
    for cell in cells:
        if not missing[cell.key]:
            heapq.heappush(ready[cell.alone], rank[cell.key])
    slots = [workers // nodes + (node < workers % nodes) for node in range(nodes)]
    free, now, under_way = slots.copy(), 0.0, list[tuple[float, int, int]]()
    while True:
        while ready[False] and max(free) > 0:
            node = free.index(max(free))
            place = heapq.heappop(ready[False])[1]
            heapq.heappush(under_way, (now + cells[place].seconds, place, node))
            free[node] -= 1
        for node in range(nodes):
            if ready[True] and not ready[False] and free[node] == slots[node]:
                place = heapq.heappop(ready[True])[1]
                heapq.heappush(under_way, (now + cells[place].seconds, place, node))
                free[node] = 0
        if not under_way:
            return now
        now, place, node = heapq.heappop(under_way)
        free[node] = slots[node] if cells[place].alone else free[node] + 1
        for user in users.get(cells[place].key, ()):
            missing[user.key] -= 1
            if not missing[user.key]:
                heapq.heappush(ready[user.alone], rank[user.key])
