"""Where the compiled convolutions keep their maps: flat arrays of vectors, blocks of LANES images, a border of one pixel."""

import numpy as np
import numpy.typing as npt

from groundglass.kernels.memory import aligned

Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]

#: Images in a block: they stand side by side, one to a lane of a vector.
LANES = 16


class Scratch:
    """Two sets of maps for a block, two for several blocks, and the values and products at the points; in vectors."""

    def __init__(self, narrow: int, wide: int, points: int) -> None:
        self.narrow = [aligned(narrow * LANES, np.float32) for _ in range(2)]
        self.wide = [aligned(wide * LANES, np.float32) for _ in range(2)]
        self.values, self.products = (aligned(points * LANES, np.float32) for _ in range(2))
        self._vectors = (narrow, wide, points)

    def holds(self, *vectors: int) -> bool:
        return all(have >= need for have, need in zip(self._vectors, vectors, strict=True))


def pack(images: Floats, maps: Floats, blocks: int) -> None:
    """[count, c, h, w] into the interior of flat maps; lanes without an image are zero."""
    inside = _interior(maps, blocks, *images.shape[1:])
    full = len(images) // LANES
    inside[:full] = images[: full * LANES].reshape(full, *inside.shape[1:])
    if full < blocks:
        rest = len(images) - full * LANES
        inside[full, :rest] = images[full * LANES :]
        inside[full, rest:] = 0


def unpack(maps: Floats, images: Floats, blocks: int) -> None:
    """The reverse."""
    inside = _interior(maps, blocks, *images.shape[1:])
    full = len(images) // LANES
    images[: full * LANES].reshape(full, *inside.shape[1:])[:] = inside[:full]
    if full < blocks:
        images[full * LANES :] = inside[full, : len(images) - full * LANES]


def _interior(maps: Floats, blocks: int, channels: int, height: int, width: int) -> Floats:
    """Flat maps -> a view [blocks, lanes, channels, height, width] without the border."""
    shape = (blocks, channels, height + 2, width + 2, LANES)
    return maps[: int(np.prod(shape))].reshape(shape)[:, :, 1:-1, 1:-1].transpose(0, 4, 1, 2, 3)
