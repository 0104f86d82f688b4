"""How many bits a matrix that is wrong by an error tells of the true one. Imports no torch.

The channel is the one that studies attack through: rows as long as the true ones, at a relative distance e from them,

    U' = s U + sqrt(1 - s^2) W,  s = 1 - e^2 / 2,

with W independent, Gaussian, and of U's variance. e = 0 is U itself; at e = sqrt(2) U' tells nothing.
"""

import math

import numpy as np

#: At this error a matrix is as far off as one drawn at random.
CHANCE = math.sqrt(2)


def agreement(error: float) -> float:
    """s, the correlation of an entry with the true one, in [0, 1].

    Raises:
        ValueError: an error outside of [0, sqrt(2)].
    """
    if not 0 <= error <= CHANCE + 1e-9:
        raise ValueError(f"the relative error (={error:g}) must be in [0, sqrt(2)]: sqrt(2) is chance")
    return max(0.0, 1 - error**2 / 2)


def gaussian_bits(error: float, *, parts: int = 2) -> float:
    """Bits that an entry of U' tells of that of a Gaussian U: -log2(1 - s^2) of a complex one, half of that of a real one.

    It is the rate-distortion function of a Gaussian at the distortion 1 - s^2 (Cover and Thomas, "Elements of information
    theory", 2006, theorem 10.3.2), which s U' has: no description of so many bits comes nearer. Infinite at an error of 0.

    Args:
        parts: 2 of a complex entry, 1 of a real one.
    """
    lost = 1 - agreement(error) ** 2
    return math.inf if lost <= 0 else -0.5 * parts * math.log2(lost)


def uniform_bits(error: float) -> float:
    """The same of an entry that is uniform around 0, as those of B are: h(s B + sqrt(1 - s^2) W) - h(sqrt(1 - s^2) W), by
    numerical integration. Less than of a Gaussian one, by .25 bits at small errors."""
    s = agreement(error)
    if s <= 0 or s >= 1:
        return math.inf if s >= 1 else 0.0
    noise, half = math.sqrt(1 - s * s), s * math.sqrt(3)  # of variance 1: uniform within sqrt(3)
    x = np.linspace(-half - 9 * noise, half + 9 * noise, 20_001)
    erf = np.vectorize(math.erf, otypes=[float])
    density = (erf((x + half) / (noise * CHANCE)) - erf((x - half) / (noise * CHANCE))) / (4 * half)
    dense = density[density > 0]
    entropy = -float((dense * np.log2(dense)).sum() * (x[1] - x[0]))
    return max(0.0, entropy - 0.5 * math.log2(2 * math.pi * math.e * noise * noise))
