"""Fast convolution by 3 x 3 kernels: multiply at a few points instead of at every tap (Toom, Cook; Winograd 1980).

A tile of outputs is A [(G w G') * (B x B')] A', with the product taken point by point: m x m outputs of a 3 x 3
convolution take (m + 2)^2 products instead of 9 m^2 (Lavin and Gray 2016).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Scheme:
    """How tiles of a 3 x 3 convolution with padding 1 are computed, in each of the two dimensions.

    Attributes:
        inputs: [points, reach], values at the points from `reach` neighbouring inputs.
        kernel: [points, 3], values at the points from the kernel.
        outputs: [tile, points], from products to outputs. Its column 1 is all ones, so that what is added to the
            product at point (1, 1) is added to every output: that is where the bias goes in.
        offset: the first input that a tile reads is its first output's place minus this.
    """

    inputs: Matrix
    kernel: Matrix
    outputs: Matrix
    offset: int

    @property
    def points(self) -> int:
        return self.inputs.shape[0]

    @property
    def tile(self) -> int:
        return self.outputs.shape[0]


def toom_cook(outputs: int, taps: int, points: Sequence[float]) -> tuple[Matrix, Matrix, Matrix]:
    """A, G and B of F(outputs, taps): A [(G h) * (B s)] = the `outputs` sums over taps of h[k] s[i + k].

    Args:
        points: outputs + taps - 2 different numbers; infinity is the last point. Small ones, and their inverses, keep
            rounding errors small.
    """
    n = outputs + taps - 1
    a, g, b = np.zeros((outputs, n)), np.zeros((n, taps)), np.zeros((n, n))
    for j, point in enumerate(points):
        others = [p for i, p in enumerate(points) if i != j]
        a[:, j] = [point**i for i in range(outputs)]
        g[j] = [point**k / np.prod([point - p for p in others]) for k in range(taps)]
        b[j, : n - 1] = np.poly(others)[::-1]
    a[-1, -1] = g[-1, -1] = 1
    b[-1] = np.poly(points)[::-1]
    return a, g, b


@cache
def tile_of_four() -> Scheme:
    """4 outputs from 6 inputs by 6 products, where 12 were needed. For heights and widths that 4 divides."""
    a, g, b = toom_cook(4, 3, (0, 1, -1, 2, -0.5))
    return Scheme(inputs=b, kernel=g, outputs=a, offset=1)


@cache
def map_of_two() -> Scheme:
    """A whole map of 2 by 3 products, where 4 were needed: outside it all is zero.

    The roles are exchanged: the kernel's three taps are the signal, the two inputs are what slides along it. That
    gives the outputs in reverse.
    """
    a, g, b = toom_cook(2, 2, (0, 1))
    return Scheme(inputs=g, kernel=b, outputs=a[::-1].copy(), offset=0)


def scheme_for(height: int, width: int) -> Scheme | None:
    """The scheme for maps of this size; None if there is none."""
    if height % 4 == 0 and width % 4 == 0 and height > 0 and width > 0:
        return tile_of_four()
    return map_of_two() if height == width == 2 else None
