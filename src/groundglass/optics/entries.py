"""The draw: how the secret becomes the integers of U, any block of them at any time."""

import math
from functools import cache

import numpy as np
import numpy.typing as npt

from groundglass.kernels import jit
from groundglass.kernels.products import TILE_LANES
from groundglass.optics.medium import MatrixKind
from groundglass.optics.sealed import Sealed, Seed

# Standard deviation of an entry (of its real and of its imaginary part), in units of the integer. Rounding adds
# an error of sqrt(1/12) = 0.29, 0.9% of it. A Gaussian leaves +-127 in 7 of 100,000 draws.
ENTRY_STD = 32
# Inputs of a block of the first recipe, which could only be drawn whole.
_BLOCK_INPUTS = 1024


class Entries(Sealed):
    """The integers of U, made on demand: a pure function of (secret, kind of matrix, sizes, tile, input).

    Every tile has 128 bits of its own from the secret (SHAKE-128): key and half of the counter of a Philox4x32-10
    generator (Salmon et al., 2011), whose other half counts inputs and lanes. 16 bits of its output make a number, through the
    inverse of the Gaussian's cumulative distribution, tabulated at 2^16 points. So any inputs of any tile can be made again
    in any order, on any machine, with any version of numpy or torch.

    Rows of U can be retrieved from readings one at a time, and Philox is no cipher: an attacker who has rows of a tile
    might work out the key of that tile. SHAKE keeps that key from giving more than the tile's other outputs.

    Args:
        seed: 128 bits of entropy make it a secret; a small number can be found by trying.
        in_features, out_features: N and M.
        matrix: "complex" or "real".
    """

    __slots__ = ("_name", "in_features", "matrix", "out_features", "parts", "seed")

    def __init__(self, seed: Seed, in_features: int, out_features: int, matrix: MatrixKind) -> None:
        self.seed = seed
        self.in_features = in_features
        self.out_features = out_features
        self.matrix: MatrixKind = matrix
        self.parts = 2 if matrix == "complex" else 1
        self._name = f"{matrix}/{in_features}x{out_features}"

    @property
    def tile_outputs(self) -> int:
        """Outputs of a tile."""
        return TILE_LANES // self.parts

    @property
    def tiles(self) -> int:
        """How many tiles M outputs are. The last may have lanes for outputs past M, which are not read."""
        return -(-self.out_features // self.tile_outputs)

    def keys(self, tiles: npt.NDArray[np.int64]) -> npt.NDArray[np.uint32]:
        """Key and half of the counter of these tiles' generators: uint32 [tiles, 4]. As good as the tiles themselves."""
        raw = b"".join(self.seed.stream(f"entries/{self._name}/{tile}", 16) for tile in tiles.tolist())
        return np.frombuffer(raw, dtype="<u4").astype(np.uint32).reshape(-1, 4)

    def fill(self, tile: int, out: npt.NDArray[np.int8]) -> None:
        """All inputs of a tile: int8 `out` [N, TILE_LANES]; the lanes are [parts, outputs of a tile]."""
        inputs = np.arange(self.in_features, dtype=np.int32)
        jit.philox.fill(gaussian_table(), self.keys(np.array([tile]))[0], inputs, out)
        self._darken(tile, out)

    def fill_by_shake(self, tile: int, out: npt.NDArray[np.int8]) -> None:
        """As `fill`, by the first recipe, of device files of format 1: 16 bits of SHAKE-128 for every number."""
        table = gaussian_table()
        for start in range(0, self.in_features, _BLOCK_INPUTS):
            block = out[start : start + _BLOCK_INPUTS]
            raw = self.seed.stream(f"matrix/{self._name}/{tile}/{start}", 2 * block.size)
            draws = np.frombuffer(raw, dtype="<u2").reshape(block.shape)
            # mode="wrap" skips the check of the bounds: 16 bits cannot leave a table of 2^16.
            np.take(table, draws, mode="wrap", out=block)
        self._darken(tile, out)

    def _darken(self, tile: int, out: npt.NDArray[np.int8]) -> None:
        """No light at outputs past M."""
        left = self.out_features - tile * self.tile_outputs
        if left < self.tile_outputs:
            out.reshape(len(out), self.parts, -1)[:, :, left:] = 0


@cache
def gaussian_table() -> npt.NDArray[np.int8]:
    """int8 [65536]: 16 uniform bits -> a Gaussian of std `ENTRY_STD`, rounded, cut at +-127.

    Every integer is there as often as the Gaussian asks for, to the nearest 2^-16.
    """
    edges = ((k + 0.5) / ENTRY_STD for k in range(-127, 127))
    below = [round(2**16 * 0.5 * math.erfc(-edge / math.sqrt(2))) for edge in edges]
    return np.repeat(np.arange(-127, 128, dtype=np.int8), np.diff([0, *below, 2**16]))
