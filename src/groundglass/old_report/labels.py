"""Labels at the ends of curves: where to put them so that none lies on another."""

from collections.abc import Sequence


def spread(centres: Sequence[float], heights: Sequence[float], *, low: float, high: float) -> list[float]:
    """Move labels apart, each as little as may be, and keep them within [low, high].

    Labels that would overlap become a block around the mean of where they wanted to be; blocks that then overlap
    are merged in turn. Order is kept. Too many for the room: they overflow at the top.

    Args:
        centres: where each label's middle would best be.
        heights: of each label, with the space around it.

    Returns:
        The middle of each label, in the order given.
    """
    order = sorted(range(len(centres)), key=lambda i: (centres[i], i))
    blocks: list[tuple[list[int], float, float]] = []  # members from the bottom up, bottom, height
    for i in order:
        members, bottom, height = [i], centres[i] - heights[i] / 2, heights[i]
        bottom = max(low, min(bottom, high - height))
        while blocks and blocks[-1][1] + blocks[-1][2] > bottom:
            members = blocks.pop()[0] + members
            height = sum(heights[k] for k in members)
            bottom = _best_bottom(members, centres, heights)
            bottom = max(low, min(bottom, high - height))
        blocks.append((members, bottom, height))
    placed = [0.0] * len(centres)
    for members, bottom, _ in blocks:
        for k in members:
            placed[k] = bottom + heights[k] / 2
            bottom += heights[k]
    return placed


def _best_bottom(members: list[int], centres: Sequence[float], heights: Sequence[float]) -> float:
    """Where a block starts so that its labels are, on average, where they wanted to be."""
    total, below = 0.0, 0.0
    for k in members:
        total += centres[k] - below - heights[k] / 2
        below += heights[k]
    return total / len(members)
