"""The ten figures of `shapes`: how far a point lies outside each one.

A figure is a function of coordinates x, y in units of the radius of a circle that holds it. It returns a distance in
the same unit, negative inside; exact near edges, wrong far from them, which is all that drawing soft edges needs.
"""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Figure = Callable[[Array, Array], Array]


def _norm(x: Array, y: Array) -> Array:
    return np.sqrt(x * x + y * y)


def _box(x: Array, y: Array, width: float, height: float) -> Array:
    return np.maximum(np.abs(x) - np.float32(width), np.abs(y) - np.float32(height))


def _sides(x: Array, y: Array, count: int, offset: float) -> list[Array]:
    """Distances to `count` lines around the origin, each `offset` away from it; the first one is above."""
    turns = [2 * math.pi * k / count for k in range(count)]
    return [x * np.float32(math.sin(t)) + y * np.float32(math.cos(t)) - np.float32(offset) for t in turns]


def _triangle(x: Array, y: Array) -> Array:
    first, second, third = _sides(x, y, 3, 0.5)
    return np.maximum(np.maximum(first, second), third)


def _star(x: Array, y: Array) -> Array:
    # A pentagram is what lies within at least four of its five lines: the second largest distance is negative.
    largest, second, *rest = _sides(x, y, 5, 0.305)
    largest, second = np.maximum(largest, second), np.minimum(largest, second)
    for side in rest:
        second = np.maximum(second, np.minimum(largest, side))
        largest = np.maximum(largest, side)
    return second


def _hourglass(x: Array, y: Array) -> Array:
    sides = (np.abs(x) - np.float32(0.9) * np.abs(y)) * np.float32(0.743)  # 1 / sqrt(1 + 0.9^2): a distance
    return np.maximum(sides, np.abs(y) - np.float32(0.73))


FIGURES: dict[str, Figure] = {
    "disc": lambda x, y: _norm(x, y) - np.float32(0.85),
    "ring": lambda x, y: np.abs(_norm(x, y) - np.float32(0.75)) - np.float32(0.2),
    "square": lambda x, y: _box(x, y, 0.7, 0.7),
    "frame": lambda x, y: np.abs(_box(x, y, 0.555, 0.555)) - np.float32(0.145),
    "triangle": _triangle,
    "star": _star,
    "cross": lambda x, y: np.minimum(_box(x, y, 0.95, 0.28), _box(x, y, 0.28, 0.95)),
    "crescent": lambda x, y: np.maximum(
        _norm(x, y) - np.float32(0.95), np.float32(0.75) - _norm(x - np.float32(0.5), y)
    ),
    "bar": lambda x, y: _box(x, y, 0.95, 0.28),
    "hourglass": _hourglass,
}
