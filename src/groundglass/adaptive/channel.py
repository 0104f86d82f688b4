"""A matrix that is wrong by an error: the channel through which a study's attacker knows U, or B. See `adaptive.information`."""

import torch
from torch import Tensor

from groundglass.core import generator, normal
from groundglass.core.sealed import without_locals


@without_locals
def blurred(matrix: Tensor, error: float, seed: int, *, size: float | None = None) -> Tensor:
    """s U + sqrt(1 - s^2) W, s = 1 - error^2 / 2, with W drawn: 0 is U, sqrt(2) a draw of one's own.

    Args:
        matrix: U, complex [M, N], or a real one, as B.
        error: distance of a row from the true one, relative to its length; with `size` to the length that is expected.
        size: root mean square of an entry of W: what the law of U has, which all know (`optics.entry_size`,
            `optics.feedback_size`). None: what each row of U itself has, so that rows are as long as the true ones; the length of
            a row is then known besides, at every error.
    """
    share = 1 - error**2 / 2
    length = matrix.abs().square().mean(1, keepdim=True).sqrt() if size is None else size
    if matrix.is_complex():
        noise = torch.view_as_complex(normal(*matrix.shape, 2, generator=generator(seed, "blur")))
        length = length / 2**0.5
    else:
        noise = normal(*matrix.shape, generator=generator(seed, "blur")).to(matrix.device)
    return share * matrix + (1 - share**2) ** 0.5 * length * noise
