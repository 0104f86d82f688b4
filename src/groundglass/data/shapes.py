"""`shapes`: ten geometric figures, 32x32 in colour, made from a seed in seconds; for machines without CIFAR.

Each image shows one figure of random place, size, angle and colour on an uneven, noisy background with a few
distractors. Strong figures are there for a small network to learn in a few epochs, faint ones for it to miss, and
the noise for an attack of 8/255 to hide in: `benchmarks/shapes_difficulty.py` measures how hard it is.

An image is a function of (seed, split, its index) and of nothing else. Everything below is integer arithmetic and
elementwise float32 sums, products, quotients and square roots, which IEEE 754 rounds in one way only: the same seed
gives the same bytes on every machine.
"""

import math

import numpy as np
import torch
from numpy.typing import NDArray

from groundglass.core import derive_seed
from groundglass.core.settings import Count, fit
from groundglass.data.dataset import CHANNELS, SIZE, Dataset, ImageSet
from groundglass.data.random_words import unit, words
from groundglass.data.shape_outlines import FIGURES

Array = NDArray[np.float32]

TRAIN_SIZE = 10_000
TEST_SIZE = 2_000
CLASSES = tuple(FIGURES)

# Lengths in pixels, colours in levels of 255.
RADIUS = (7.5, 12.0)  # of the circle that holds a figure; it lies within the image
BASE = (90.0, 165.0)  # the background's mean, each channel
SHADE = 16.0  # the background's slow variation, up to this much either way
CONTRAST = (26.0, 160.0)  # length of the RGB difference between a figure and what lies under it
NOISE = 10.0  # of each pixel and channel, uniform, up to this much either way
CLUTTER = 2  # small discs under the figure
CLUTTER_RADIUS = (1.0, 3.0)

_GRID = 4  # the slow variation has this many knots a side
_DIRECTIONS = 64  # a figure's angle is one of so many
_WORDS_SCENE = 80
_WORDS_NOISE = CHANNELS * SIZE * SIZE // 8  # a byte a value
_CHUNK = 100  # images drawn at once: small enough to stay in a core's cache


def load_shapes(n_train: int = TRAIN_SIZE, n_test: int = TEST_SIZE, *, seed: int = 0) -> Dataset:
    """Make the `shapes` data set.

    Args:
        n_train, n_test: images of each split. More images leave the first ones as they are.
        seed: another seed, another data set of the same kind.

    Returns:
        mean and std .5, no augmentation.

    Raises:
        ValueError: a size below 1.
    """
    n_train, n_test, seed = fit(Count, n_train, "n_train"), fit(Count, n_test, "n_test"), fit(int, seed, "seed")
    half = (0.5, 0.5, 0.5)
    return Dataset("shapes", _split("train", n_train, seed), _split("test", n_test, seed), mean=half, std=half)


def _split(split: str, count: int, seed: int) -> ImageSet:
    labels = _labels(count, derive_seed(seed, "shapes", split, "labels"))
    key = derive_seed(seed, "shapes", split, "images")
    images = np.empty((count, CHANNELS, SIZE, SIZE), dtype=np.uint8)
    for label, name in enumerate(CLASSES):
        members = np.flatnonzero(labels == label)
        for start in range(0, len(members), _CHUNK):
            chosen = members[start : start + _CHUNK]
            images[chosen] = _draw(name, chosen, key)
    return ImageSet("shapes", split, torch.from_numpy(images), torch.from_numpy(labels), CLASSES)


def _labels(count: int, key: int) -> NDArray[np.int64]:
    """Each ten images in a row show the ten figures in a random order: the head of a split is balanced."""
    classes = len(CLASSES)
    blocks = words(key, np.arange(-(-count // classes)), classes)
    return blocks.argsort(axis=1, kind="stable").reshape(-1)[:count].astype(np.int64)


class _Draws:
    """Hands out an image's random numbers one after another, for many images at once."""

    def __init__(self, raw: NDArray[np.uint64]) -> None:
        self._raw, self._next = raw, 0

    def words(self, count: int) -> NDArray[np.uint64]:
        start, self._next = self._next, self._next + count
        assert self._next <= self._raw.shape[1], "more draws an image than _WORDS_SCENE"
        return self._raw[:, start : self._next]

    def uniform(self, low: float, high: float, count: int) -> Array:
        """float32 [n, count] in [low, high)."""
        return np.float32(low) + np.float32(high - low) * unit(self.words(count))

    def colour(self) -> Array:
        """A difference of colour in RGB, [n, 3], of any direction and a length within CONTRAST."""
        direction = self.uniform(-1, 1, CHANNELS)
        r, g, b = direction.T
        length = np.sqrt(r * r + g * g + b * b)[:, None]
        return direction / np.maximum(length, np.float32(1e-3)) * self.uniform(*CONTRAST, 1)


def _draw(figure: str, index: NDArray[np.int64], key: int) -> NDArray[np.uint8]:
    """The images of one class at `index`, uint8 [n, 3, 32, 32]."""
    raw = words(key, index, _WORDS_SCENE + _WORDS_NOISE)
    draws = _Draws(raw[:, :_WORDS_SCENE])
    scene = _background(draws)
    for _ in range(CLUTTER):
        radius = draws.uniform(*CLUTTER_RADIUS, 1)[:, :, None]
        x, y = _offsets(draws.uniform(0, SIZE, 2))
        _blend(scene, np.float32(0.5) + radius - np.sqrt(x * x + y * y), draws.colour())
    radius = draws.uniform(*RADIUS, 1)
    x, y = _offsets(radius + draws.uniform(0, 1, 2) * (SIZE - 2 * radius))
    x, y = _turn(x, y, (draws.words(1) % np.uint64(_DIRECTIONS))[:, 0].astype(np.intp))
    radius = radius[:, :, None]
    _blend(scene, np.float32(0.5) - radius * FIGURES[figure](x / radius, y / radius), draws.colour())
    noise = raw[:, _WORDS_SCENE:].astype("<u8").view(np.uint8).reshape(scene.shape)
    scene += (noise.astype(np.float32) - np.float32(127.5)) * np.float32(NOISE / 127.5)
    return np.clip(np.rint(scene), 0, 255).astype(np.uint8)


def _background(draws: _Draws) -> Array:
    """A colour for each image, varied slowly: bilinear between 4 x 4 knots. [n, 3, 32, 32]."""
    base = draws.uniform(*BASE, CHANNELS)
    knots = np.rint(draws.uniform(-SHADE, SHADE, CHANNELS * _GRID * _GRID)).reshape(-1, CHANNELS, _GRID, _GRID)
    # Whole numbers times sixteenths, twice: every sum is exact, in whatever order a matrix product takes it.
    weights = _interpolation()
    return base[:, :, None, None] + weights @ knots @ weights.T


def _interpolation() -> Array:
    """Bilinear weights from the knots, at the centres of equal cells, to the pixels; flat outside. [32, 4]."""
    place = (np.arange(SIZE) + 0.5) * _GRID / SIZE - 0.5
    return np.clip(1 - np.abs(np.clip(place, 0, _GRID - 1)[:, None] - np.arange(_GRID)), 0, 1).astype(np.float32)


def _offsets(centre: Array) -> tuple[Array, Array]:
    """Pixel centres relative to `centre` [n, 2], as x [n, 1, 32] and y [n, 32, 1]."""
    pixels = np.arange(SIZE, dtype=np.float32) + np.float32(0.5)
    return (pixels - centre[:, :1])[:, None, :], (pixels - centre[:, 1:])[:, :, None]


def _turn(x: Array, y: Array, direction: NDArray[np.intp]) -> tuple[Array, Array]:
    # math.cos, not numpy's: that one's last bit depends on the processor's vector units.
    angles = [2 * math.pi * k / _DIRECTIONS for k in range(_DIRECTIONS)]
    cos = np.array([math.cos(a) for a in angles], dtype=np.float32)[direction][:, None, None]
    sin = np.array([math.sin(a) for a in angles], dtype=np.float32)[direction][:, None, None]
    return x * cos + y * sin, y * cos - x * sin


def _blend(scene: Array, cover: Array, colour: Array) -> None:
    """Shift `scene` by `colour` [n, 3] where `cover` [n, 32, 32] says so: 0 not at all, 1 in full."""
    np.clip(cover, 0, 1, out=cover)
    scene += cover[:, None] * colour[:, :, None, None]
