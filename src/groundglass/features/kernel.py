"""The kernel that a device's readings tend to as it gets more pixels."""

import math
from typing import Annotated, Any

import numpy as np
from torch import Tensor

from groundglass.core import NonFiniteError
from groundglass.core.settings import In, fit
from groundglass.optics.device import Array
from groundglass.optics.medium import MatrixKind


def optical_kernel(x: Array, y: Array, *, density: float = 0.5, matrix: MatrixKind = "complex") -> Array:
    """k(x, y) = (|x|^2 |y|^2 + <x, y>^2) / (density N)^2: what `OPUMap` approximates, with which a model needs no features.

    With u a row of U, i.i.d. complex Gaussian with E|u_i|^2 = 1, a = <u, x> and b = <u, y> are jointly complex Gaussian with
    E|a|^2 = |x|^2, E|b|^2 = |y|^2 and E[a b*] = <x, y>. Isserlis' theorem pairs the four factors of |a|^2 |b|^2 in the two ways
    that do not vanish: E[|a|^2 |b|^2] = E|a|^2 E|b|^2 + |E[a b*]|^2 = |x|^2 |y|^2 + <x, y>^2. The mean over M rows, which the
    product of two rows of readings over M is, tends to that, with an error of the order of M^-1/2. For a real W the third
    pairing counts as well: |x|^2 |y|^2 + 2 <x, y>^2.

    `OPUMap` divides readings by the mean reading at calibration, which is that of inputs with |x|^2 = density N; so does this.
    A camera of few bits that saturates bends it by some per cent.

    Source: Ohana et al., *Kernel computations from large-scale random features obtained by Optical Processing Units*
    (ICASSP 2020, arXiv:1910.09880). Saade et al., *Random projections through multiple optical scattering* (ICASSP 2016,
    arXiv:1510.06664) have the kernel of the modulus |Ux|, an elliptic integral.

    Args:
        x, y: bits as they enter the device, [a, N] and [b, N]; both arrays, or both tensors.
        density: share of ones at calibration, `camera.density`; above 0.
        matrix: of the device.

    Returns:
        [a, b], float64.

    Raises:
        TypeError: neither arrays nor tensors, or one of each.
        ValueError: of different N; a setting out of range.
        NonFiniteError: NaN or infinite numbers.
    """
    if not any(isinstance(x, kind) and isinstance(y, kind) for kind in (Tensor, np.ndarray)):
        raise TypeError(
            f"x and y must be two numpy arrays or two tensors, not {type(x).__name__} and {type(y).__name__}"
        )
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1]:
        raise ValueError(f"x and y must be [a, N] and [b, N], not {list(x.shape)} and {list(y.shape)}")
    density = fit(Annotated[float, In("(0, 1]")], density, "density")
    fit(MatrixKind, matrix, "matrix")
    left, right = (_floats(bits) / (density * x.shape[1]) ** 0.5 for bits in (x, y))
    squares = (left**2).sum(1)[:, None] * (right**2).sum(1)[None]
    found: Array = squares + (1 if matrix == "complex" else 2) * (left @ right.T) ** 2
    return found


def _floats(bits: Any) -> Any:
    found = bits.double() if isinstance(bits, Tensor) else bits.astype(float)
    if not bool((abs(found) < math.inf).all()):
        raise NonFiniteError("x and y must be finite: there is a NaN or an infinity among them")
    return found
