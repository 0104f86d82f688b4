"""How the compiled Hadamard transforms hold rows: in cells of 64 bytes, the real parts of eight rows, then the imaginary ones."""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Rows = npt.NDArray[np.complex64]

#: Rows of a cell.
LANES = 8


def to_lanes(rows: Rows) -> Floats:
    """complex64 [lanes, n] -> float32 [n, 2 lanes]."""
    return np.ascontiguousarray(np.concatenate([rows.real, rows.imag]).T.astype(np.float32))


def from_lanes(cells: Floats) -> Rows:
    """The reverse."""
    lanes = cells.shape[1] // 2
    rows: Rows = (cells[:, :lanes] + 1j * cells[:, lanes:]).T.astype(np.complex64)
    return rows


def per_row(cell: Floats) -> Floats:
    """Sums of the real and of the imaginary lane of each row, [lanes]."""
    lanes = len(cell) // 2
    return cell[:lanes] + cell[lanes:]
