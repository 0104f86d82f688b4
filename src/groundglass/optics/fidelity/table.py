"""Is a simulated medium an i.i.d. complex Gaussian one? Its laws, each with what such a matrix of this size would give."""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from groundglass.core import generator, permutation
from groundglass.optics.camera import check_intensity
from groundglass.optics.fidelity.laws import (
    Array,
    Law,
    kernel_law,
    laws_of_entries,
    laws_of_independent_inputs,
    power_of_two,
    spectrum_law,
    spread_law,
    walsh_hadamard,
)
from groundglass.optics.simulated import SimulatedOPU
from groundglass.optics.tiled import ENTRY_STD

#: bits uint8 [batch, N] -> intensities float64 [batch, M], in units of E|U_ij|^2: the mean is the number of ones.
Light = Callable[[Tensor], Tensor]

#: The fewest inputs that the laws' standard errors are good for.
LEAST_INPUTS = 64
#: The fewest outputs that they are good for.
LEAST_OUTPUTS = 256
_LEAST_REDRAWS = 8
# Intensities at a time: a wider device is shown fewer inputs, but 8.
_LIGHT = 2**22


def device_light(device: SimulatedOPU) -> Light:
    """The intensities behind the readings of a device whose camera is `Camera(bits=None)`, without noise.

    Raises:
        ValueError: a camera with bits, noise or another power: what it rounds, cuts off or adds does not belong to the medium.
    """
    check_intensity(device.camera, "the table of laws")
    if device.camera.bits is not None or device.camera.noisy:
        raise ValueError(f"the laws are those of light, not of {device.camera}: make the device with Camera(bits=None)")
    unit = device.exposure.gain * ENTRY_STD**2 * (2 if device.matrix == "complex" else 1)
    return lambda bits: device.measure(bits).double() / unit


def fidelity(
    light: Light,
    in_features: int,
    out_features: int,
    *,
    redraw: Callable[[int], Light],
    redraws: int = 40,
    seed: int = 0,
    matrix: Tensor | None = None,
) -> tuple[Law, ...]:
    """The table of laws.

    Every standard error is that of an i.i.d. complex Gaussian matrix of this size, derived; nothing is fitted. Inputs of a
    kind have no ones in common where they can, so that their light is independent. Correlations are of 1 - exp(-I / mean),
    which is uniform under the exponential law and has no heavy tail.

    Args:
        light: of the medium.
        in_features: N, at least 64.
        out_features: M, at least 256.
        redraw: k -> the light of another medium of the same kind, with secret k; k = 0, 1, ...
        redraws: how many of them; at least 8.
        seed: of the inputs, and nothing else.
        matrix: U [M, N] up to a factor, where there is one to see (`true_matrix`), for the law of its spectrum.

    Raises:
        ValueError: too few inputs, outputs or redraws, or a matrix of another shape.
    """
    if in_features < LEAST_INPUTS or out_features < LEAST_OUTPUTS or redraws < _LEAST_REDRAWS:
        raise ValueError(
            f"{in_features} inputs, {out_features} outputs and {redraws} redraws are too few: "
            f"at least {LEAST_INPUTS}, {LEAST_OUTPUTS} and {_LEAST_REDRAWS}"
        )
    if matrix is not None and matrix.shape != (out_features, in_features):
        raise ValueError(f"`matrix` {list(matrix.shape)} must be [{out_features}, {in_features}]: outputs by inputs")
    inputs = _Inputs(in_features, rows=max(8, min(1024, _LIGHT // out_features)), seed=seed)
    laws = [
        law
        for kind, bits in inputs.kinds().items()
        for law in laws_of_independent_inputs(kind, _normalised(light, bits))
    ]
    return (
        *laws,
        _total_over_codes(light, inputs, out_features),
        *_totals_over_redraws(redraw, redraws, inputs, out_features),
        *_kernel(light, inputs),
        *laws_of_entries(_normalised(light, inputs.block())),
        *([] if matrix is None else [spectrum_law(matrix)]),
    )


class _Inputs:
    """Designed inputs, at most `rows` of a kind, in a random order that has nothing to do with a medium's own."""

    def __init__(self, in_features: int, rows: int, seed: int) -> None:
        self.in_features = in_features
        self.rows = rows
        self.order = permutation(in_features, generator=generator(seed, "fidelity")).numpy()

    def bits(self, supports: list[npt.NDArray[np.int64]]) -> Tensor:
        out = np.zeros((len(supports), self.in_features), dtype=np.uint8)
        for row, support in zip(out, supports, strict=True):
            row[support] = 1
        return torch.from_numpy(out)

    def kinds(self) -> dict[str, Tensor]:
        """No two inputs of a kind have a one in common."""
        n = self.in_features
        return {
            "half of the inputs": self._disjoint(n // 2),
            "sqrt(N) inputs": self._disjoint(math.isqrt(n)),
            "two inputs": self._disjoint(2),
            "one input": self._disjoint(1),
        }

    def _disjoint(self, ones: int) -> Tensor:
        count = min(self.rows, self.in_features // ones)
        return self.bits([self.order[i * ones : (i + 1) * ones] for i in range(count)])

    def block(self) -> Tensor:
        """One-hot inputs 0, 1, 2, ...: a power of two of them."""
        return torch.eye(
            power_of_two(min(self.rows, self.in_features)), self.in_features, dtype=torch.uint8, device="cpu"
        )

    def codes(self) -> Tensor:
        """Half of a power of two of the inputs; any two of them have half of their ones in common."""
        n = power_of_two(self.in_features)
        rows = np.eye(n, min(64, n))[:, 1:]
        return self.bits([self.order[:n][row > 0] for row in walsh_hadamard(rows, 0).T])


def _normalised(light: Light, bits: Tensor) -> Array:
    """Intensities over their expectation, float64 [rows, M]."""
    ones = bits.sum(1, dtype=torch.float64)
    return np.asarray((light(bits) / ones[:, None]).numpy(), dtype=np.float64)


def _totals(light: Light, bits: Tensor, outputs: int) -> Array:
    """The light of all outputs over its expectation, float64 [rows]."""
    return np.concatenate([_normalised(light, some).mean(1) for some in bits.split(max(1, _LIGHT // outputs))])


def _total_over_codes(light: Light, inputs: _Inputs, outputs: int) -> Law:
    # Totals T(x), T(y) of an i.i.d. matrix have covariance <x, y>^2 / M: here a quarter of their variance.
    return spread_law(
        "total over inputs, half of the inputs",
        *(_totals(light, inputs.codes(), outputs), outputs),
        "std over mean of the light's sum, times sqrt(M / (1 - 1/4)), over inputs that have half of their ones in common",
        shared=0.25,
    )


def _totals_over_redraws(redraw: Callable[[int], Light], redraws: int, inputs: _Inputs, outputs: int) -> Iterator[Law]:
    kinds = inputs.kinds()
    some = torch.cat([bits[:1] for bits in kinds.values()])
    n = inputs.in_features
    # All one-hot inputs, where there is time for N rows a redraw.
    every = torch.eye(n, dtype=torch.uint8, device="cpu") if n * outputs <= _LIGHT else None
    totals, sums = np.empty((redraws, len(some))), np.empty(redraws)
    for k in range(redraws):
        medium = redraw(k)
        totals[k] = _totals(medium, some, outputs)
        if every is not None:
            sums[k] = _totals(medium, every, outputs).mean()
    for kind, of_kind in zip(kinds, totals.T, strict=True):
        yield spread_law(
            f"total over redraws, {kind}",
            *(of_kind, outputs),
            "std over mean of the light's sum, times sqrt(M), over redraws of U; 0 for a unitary U",
        )
    if every is not None:
        law = spread_law(
            "total of all inputs one by one, over redraws",
            *(sums, n * outputs),
            "std over mean of the sum of all |U_ij|^2, times sqrt(N M); 0 when the singular values are fixed",
        )
        yield replace(law, expected_to_differ=True)


def _kernel(light: Light, inputs: _Inputs) -> Iterator[Law]:
    ones, order = inputs.in_features // 2, inputs.order
    for quarters in range(5):
        common = ones * quarters // 4
        x, y = _normalised(light, inputs.bits([order[:ones], order[ones - common : 2 * ones - common]]))
        yield kernel_law(f"kernel, half of the inputs, {25 * quarters}% in common", x * y, (common / ones) ** 2)
    # Pairs of two-hot inputs {a, b} and {b, c}, no pair with an input of another.
    triples = [order[3 * i : 3 * i + 3] for i in range(min(inputs.rows, inputs.in_features // 3))]
    x = _normalised(light, inputs.bits([triple[:2] for triple in triples]))
    y = _normalised(light, inputs.bits([triple[1:] for triple in triples]))
    yield kernel_law("kernel, two inputs, 50% in common", x * y, 0.25)
