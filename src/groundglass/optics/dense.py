"""A medium whose matrix lies in memory."""

import numpy as np
import numpy.typing as npt
from torch import Tensor

from groundglass.kernels.kernel_choice import fastest_kernel
from groundglass.optics.entries import Entries
from groundglass.optics.medium import MatrixKind, Medium
from groundglass.optics.region import Picked
from groundglass.optics.sealed import Seed
from groundglass.optics.secret_matrix import SecretMatrix


class DenseMedium(Medium):
    """U stored, 2 bytes a complex entry, and multiplied by the fastest exact kernel of the machine."""

    __slots__ = ("_matrix", "draw")

    kind = "dense"

    def __init__(self, seed: Seed, secret: SecretMatrix, draw: int = Medium.draw) -> None:
        super().__init__(seed, secret.in_features, secret.out_features, secret.matrix)
        self._matrix = secret
        self.draw = draw

    @classmethod
    def make(
        cls, seed: Seed, in_features: int, out_features: int, matrix: MatrixKind, draw: int = Medium.draw
    ) -> "DenseMedium":
        """Draw U.

        Args:
            draw: the recipe. 1 is that of the first device files, which stay readable.
        """
        entries = Entries(seed, in_features, out_features, matrix)
        return cls(seed, SecretMatrix.draw(entries, by_shake=draw == 1), draw)

    def intensities(self, bits: Tensor) -> Tensor:
        return fastest_kernel(len(bits), self._matrix).intensities(bits, self._matrix)

    def readings(self, bits: Tensor, *, gain: float, top: int) -> Tensor:
        return fastest_kernel(len(bits), self._matrix).readings(bits, self._matrix, gain=gain, top=top)

    def region(self, outputs: npt.NDArray[np.int64]) -> Medium:
        width = self._matrix.tile_outputs
        tiles, place = np.unique(outputs // width, return_inverse=True)
        some = SecretMatrix(self._matrix.tiles[tiles], len(tiles) * width, self.matrix)
        return Picked(DenseMedium(self.seed, some, self.draw), place * width + outputs % width)

    def dense(self) -> npt.NDArray[np.complex64]:
        return self._matrix.dense()

    @property
    def nbytes(self) -> int:
        return self._matrix.nbytes
