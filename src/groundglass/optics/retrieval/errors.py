"""How far a retrieved matrix is from the true one, up to what no camera can see."""

import torch
from jaxtyping import Complex, Float
from torch import Tensor


def row_errors(estimate: Complex[Tensor, "m n"], truth: Complex[Tensor, "m n"]) -> Float[Tensor, "m"]:
    """Relative error of each row, whatever its phase and conjugation: |Ux|^2 of real x is the same for all of them.

    min over phase and conjugation of |u - e^(i phi) v| / |u|, that is
    sqrt(|u|^2 + |v|^2 - 2 max(|<u, v>|, |<conj u, v>|)) / |u|. A row of chance with the right length has about sqrt(2).
    """
    if estimate.shape != truth.shape:
        raise ValueError(f"the estimate is {list(estimate.shape)}, the matrix {list(truth.shape)}: not the same device")
    u, v = truth.to(torch.complex128), estimate.to(torch.complex128)
    size = u.abs().square().sum(1)
    agreement = torch.maximum((u.conj() * v).sum(1).abs(), (u * v).sum(1).abs())
    return ((size + v.abs().square().sum(1) - 2 * agreement).clamp_min(0) / size).sqrt()
