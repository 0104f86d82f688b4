"""Retrieval from inputs that nobody designed: natural rows, or draws that look like them."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from groundglass.core import derive_seed, generator, normal
from groundglass.core.settings import Count, In, Positive, Settings
from groundglass.optics.retrieval.input_sources import InputSource
from groundglass.optics.retrieval.method import Design, Readings, Rows, Scale, own_design
from groundglass.optics.retrieval.plan import HELD_OUT

# Rows that are worked on at a time.
_ROWS = 64
# Steps between two looks at the rows; those that are so much nearer than they must be are done.
_LOOK, _REST = 10, 0.1


@dataclass(frozen=True, eq=False)
class GivenDesign:
    """Inputs as they are.

    Attributes:
        inputs: uint8 [frames, N].
        held_out: as many as a retrieval holds out, of the same kind: half-on ones would be seen.
    """

    inputs: UInt8[Tensor, "frames n"]
    held_out: UInt8[Tensor, "held n"]

    @property
    def in_features(self) -> int:
        return int(self.inputs.shape[1])

    def __len__(self) -> int:
        return len(self.inputs)

    def bits(self, start: int, stop: int) -> UInt8[Tensor, "frames n"]:
        return self.inputs[start:stop]

    def exposures(self) -> Float[Tensor, "frames"]:
        return torch.ones(len(self), dtype=torch.float64, device="cpu")

    @cached_property
    def moments(self) -> tuple[Tensor, Tensor]:
        """Eigenvalues, falling, and eigenvectors of X'X / frames, float64."""
        x = self.inputs.to(torch.float64)
        values, vectors = torch.linalg.eigh(x.T @ x / len(x))
        return values.flip(0).clamp_min(0), vectors.flip(1)


@dataclass(frozen=True)
class GivenInputs(Settings):
    """Accelerated Gerchberg-Saxton as in `FixedExposure`'s search, from any inputs X, in coordinates where X'X = 1.

    Natural bits are far from the designed ones: most of their variance lies in a few directions. In these coordinates a step goes
    to the least-squares solution all the same. Directions in which the inputs hardly vary are what a prediction for such inputs
    hardly needs, and are retrieved worst. No polish: the row ends between the camera's roundings. O(frames N M) a step.

    Args:
        source: where the inputs come from.
        momentum: share of the last step that is added to the next.
        power_iterations: of the spectral start.
        steps: of each start.
        ridge: added to the moments of the inputs, over their mean. Directions with moments below that are left 0: readings of
            such inputs hardly depend on them.
        near: rms distance of the fields from what the readings allow, over the rms field, up to which a row is right.
        starts: most starts of a row.
    """

    source: InputSource
    momentum: Annotated[float, In("[0, 1)")] = 0.9
    power_iterations: Count = 20
    steps: Count = 150
    ridge: Positive = 1e-3
    near: Positive = 0.003
    starts: Count = 4

    exposure_control = False

    @property
    def name(self) -> str:
        return f"given-inputs, {self.source.name}"

    def least(self, in_features: int) -> int:
        """4 N, as of `FixedExposure`: a row has 2 N real unknowns."""
        return 4 * in_features

    def design(self, in_features: int, frames: int, scale: Scale, *, seed: int) -> GivenDesign:
        """As many as the source has.

        Raises:
            ValueError: fewer than `least`, asked for or there; a source of other inputs.
        """
        if in_features != self.source.in_features:
            raise ValueError(f"the source has inputs of {self.source.in_features} bits, the device takes {in_features}")
        drawn = self.source.draw(frames + HELD_OUT, seed=seed)
        there = min(frames, len(drawn) - HELD_OUT)
        if there < self.least(in_features):
            raise ValueError(
                f"{max(there, 0)} frames are too few for {in_features} inputs: give at least 4 N = {self.least(in_features)}, "
                f"and a source of so many rows and {HELD_OUT} that are held out"
            )
        return GivenDesign(drawn[HELD_OUT : HELD_OUT + there], drawn[:HELD_OUT])

    def solve(self, design: Design, readings: Readings, scale: Scale, *, seed: int) -> Rows:
        """See `RetrievalMethod`. A row's last digits may depend on its company: it is found by products of matrices."""
        search = _Search(self, own_design(self, design, GivenDesign), scale, readings.device)
        return torch.cat([search.rows(some, seed) for some in readings.split(_ROWS)])


class _Search:
    """Fields are X W v, of rows u = W v; real parts in the first half of the columns, imaginary ones in the second."""

    def __init__(self, settings: GivenInputs, design: GivenDesign, scale: Scale, where: torch.device) -> None:
        self.settings, self.scale = settings, scale
        values, vectors = design.moments
        ridge = settings.ridge * values.mean()
        whitening = torch.where(values > ridge, 1 / (values + ridge).sqrt(), 0.0)
        self.back = (vectors * whitening).to(torch.float32).to(where)
        self.inputs = design.inputs.to(where, torch.float32) @ self.back

    def rows(self, readings: Readings, seed: int) -> Rows:
        """The best of some starts of each row, from readings [rows, frames]."""
        y = readings.to(torch.float32).T.contiguous()
        near = self._near(y)
        found = torch.zeros(self.inputs.shape[1], 2, len(near), dtype=torch.float32, device=y.device)
        misfit = torch.full_like(near, math.inf)
        for start in range(self.settings.starts):
            (todo,) = torch.nonzero(misfit > near, as_tuple=True)
            if not len(todo):
                break
            v, off = self._start(y[:, todo], near[todo], derive_seed(seed, "given inputs", start))
            better = off < misfit[todo]
            found[:, :, todo[better]], misfit[todo[better]] = v[:, :, better], off[better]
        u = self.back @ found.flatten(1)
        real, imaginary = u.chunk(2, 1)
        return torch.complex(real, imaginary).T.contiguous()

    def _near(self, y: Tensor) -> Tensor:
        """Distance at which a row is right: a share of its field, and what noise does to it."""
        field = y.mean(0).clamp_min(1e-6).sqrt()
        return self.settings.near * field + self.scale.noise * (1 / (4 * y.clamp_min(0.5))).mean(0).sqrt() * 1.5

    def _start(self, y: Tensor, near: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        """What one start finds, [N, 2, rows], and its rms distance from what the readings allow, [rows]."""
        settings, frames = self.settings, len(y)
        v = self._spectral(y, seed)
        found, misfit = torch.empty_like(v), torch.empty_like(near)
        top = math.inf if self.scale.top is None else float(self.scale.top)
        half = 0.0 if self.scale.top is None else 0.5
        low, high = (y - half).clamp_min(0).sqrt(), (y + half).masked_fill(y >= top, math.inf).sqrt()
        previous, left = v, torch.nonzero(near >= 0)[:, 0]
        for step in range(1, settings.steps + 1):
            ahead = v + settings.momentum * (v - previous)
            fields = (self.inputs @ ahead.flatten(1)).unflatten(1, (2, -1))
            size = _size(fields)
            moved = torch.minimum(torch.maximum(size, low), high) - size
            back = self.inputs.T @ (fields * (moved / size)[:, None]).flatten(1) / frames
            previous, v = v, ahead + back.unflatten(1, (2, -1))
            if step % _LOOK and step < settings.steps:
                continue
            off = moved.square().mean(0).sqrt()
            done = (off < _REST * near[left]) | (step == settings.steps)
            found[:, :, left[done]], misfit[left[done]] = v[:, :, done], off[done]
            stay = ~done
            left, v, previous, low, high = (left[stay], *(one[..., stay] for one in (v, previous, low, high)))
            if not len(left):
                break
        return found, misfit

    def _spectral(self, y: Tensor, seed: int) -> Tensor:
        """Leading eigenvectors of A' diag(y / mean - 1) A by power iteration, with the light of their rows: [N, 2, rows]."""
        begin = normal(self.inputs.shape[1], 2, 1, generator=generator(seed)).to(y.device)
        mean = y.mean(0).clamp_min(1e-6)
        weight, v = (y / mean - 1)[:, None], begin.expand(-1, -1, y.shape[1])
        for _ in range(self.settings.power_iterations):
            fields = (self.inputs @ v.flatten(1)).unflatten(1, (2, -1))
            v = (self.inputs.T @ (weight * fields).flatten(1)).unflatten(1, (2, -1))
            v = v / v.square().sum((0, 1)).sqrt().clamp_min(1e-30)
        light = _size((self.inputs @ v.flatten(1)).unflatten(1, (2, -1))).square().mean(0)
        return v * (mean / light).sqrt()


def _size(fields: Tensor) -> Tensor:
    """[frames, 2, rows] -> [frames, rows]."""
    return fields.square().sum(1).sqrt().clamp_min(1e-9)


def natural_error(found: Tensor, truth: Tensor, rows: Tensor) -> np.ndarray:
    """How far light |Ux|^2 is off for natural rows, over that light's own spread, of each row of U: float64 [m]."""
    x = rows.to(torch.complex128).T
    one, other = (matrix.to(torch.complex128) @ x for matrix in (found, truth))
    one, other = one.abs().square(), other.abs().square()
    return ((one - other).square().mean(1) / other.var(1)).sqrt().numpy()
