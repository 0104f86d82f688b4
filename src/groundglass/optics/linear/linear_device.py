"""A device of intensities as a linear map: x -> Ux, complex, with the phase that its camera does not see."""

import math
from typing import Annotated, Any

import numpy as np
import torch
from torch import Tensor

from groundglass.core import BudgetExceededError, check_seed, pieces
from groundglass.core.given import as_tensor
from groundglass.core.settings import Count, In, fit
from groundglass.optics.access import DeviceAccess
from groundglass.optics.device import OpticalDevice, known_bits
from groundglass.optics.linear.anchors import AnchorDesign, locate, most_anchors, turned
from groundglass.optics.linear.lateration import Lateration
from groundglass.optics.linear.planes import as_planes
from groundglass.optics.retrieval.readings import ExposureError, MatrixChangedError

# Anchors of a part, unless told otherwise.
_ANCHORS = 15
# Readings at a time: bounds memory, changes nothing.
_READINGS = 2**20
# Inputs at a time, before they are bit planes.
_ROWS = 256
# Share of the readings' spread over the anchors that may be left unexplained, beyond noise: results are then off by a fifth.
_STRAY = 0.03


class LinearDevice:
    """x -> Ux of a device that shows |Ux|^2 of binary x alone, U unknown. Make one with `fit`.

    The result is that of a matrix whose rows are those of U, each with a phase of its own, drawn by lot, and perhaps conjugated:
    no camera can tell them apart, and their law is that of U. It stays the same matrix, so that sums and differences
    of results mean what they say.

    **Method.** For an input x and anchors a_s that share no bit with it, |U(x + a_s)|^2 are squared distances of the
    field of x to the fields of -a_s. Where those lie is found once (`fit`); then each row of Ux is a point of the plane with
    known distances to known points. What x has on in one half of the inputs is measured with anchors in the other half,
    and the two fields are added. A half with more than half of its bits on is measured by its complement.

    **Frames.** `fit_frames` once. Then `frames_per_input` at most for a binary input: for each half in which it has a bit,
    one for each anchor and one without. Whole numbers and floats take that for each bit plane.

    **Error.** Rounding, read noise and the anchors' own error; see docs/how-to/linear.md for figures. It falls as one over the
    square root of the anchors.

    Source: Gupta, Gribonval, Daudet, Dokmanic, "Don't take it lightly: phasing optical random projections with unknown
    operators", NeurIPS 2019 (arXiv 1907.01703). Differences: sums of disjoint inputs in place of differences, as a DMD
    has no -1 (there, all inputs must lie within nested anchors); all anchors are unions of a few blocks, whose fields are
    retrieved as a small matrix, in place of multidimensional scaling of the anchors; the points by `Lateration`.

    Attributes:
        in_features: inputs that x has.
        out_features: M.
        anchors: of each half, the zero one not counted.
        frames_per_input, fit_frames: see above.
        noise: std of a reading between frames of one input, in reading steps, as measured by `fit`.
        real: U was found to be real; then results are.
        trusted: rows whose anchors predicted held-out readings, bool [M]. Others are wrong, and may be left out.
        access: the device, with its count of frames.
    """

    def __init__(self, access: DeviceAccess, design: AnchorDesign, *, inputs: int, seed: int, exposure: float) -> None:
        before = access.frames
        located = locate(access, design, exposure=exposure, seed=seed)
        self.access, self._design, self._exposure = access, design, exposure
        self.in_features, self.out_features = inputs, access.out_features
        self.anchors = len(design.parts[0].anchors) - 1
        self.frames_per_input = sum(len(part.anchors) for part in design.parts)
        self.fit_frames = access.frames - before
        self.noise = located.noise
        self.trusted: Tensor = ~located.told_wrong
        placed = int(self.trusted.sum())
        if 2 * placed < self.out_features:
            raise ExposureError(
                f"the anchors of {placed} of {self.out_features} rows could be placed: the others do not predict held-out "
                "readings. Look for noise (repeat and average), for a camera of one or two bits, for light that changes, or "
                "for a matrix that does"
            )
        self._blocks, self.real = turned(located.matrix, seed=seed)
        variance = self.noise**2 + (0 if access.top is None else 1 / 12)
        self._lateration = [
            Lateration(part.anchors.to(torch.complex128) @ self._blocks.T, access.top, variance)
            for part in design.parts
        ]
        # Mean square of the field of one input.
        light = self._blocks.abs().square().mean(0).sum() / design.blocks.sum()
        self._light = max(float(light), 1e-12)

    @classmethod
    def fit(
        cls,
        device: OpticalDevice | DeviceAccess,
        anchors: int | None = None,
        *,
        seed: int = 0,
        inputs: int | None = None,
        exposure: float = 1.0,
    ) -> "LinearDevice":
        """Place the anchors of a device, by some 700 of its frames.

        Args:
            device: any `OpticalDevice`, or an access to one, whose budget then holds and whose frames are counted.
            anchors: of each half of the inputs. More make the error smaller and cost a frame an input each. None: 15; of a
                device of fewer than 16 inputs as many as there are.
            seed: of the places of the anchors, and of the phases of the rows.
            inputs: how many inputs x has, the first ones of the device: the others are for anchors alone, and an input then takes
                half as many frames. None: all.
            exposure: of all frames, times the device's own; any other than 1 needs an access with control of it.

        Raises:
            TypeError: no device.
            ValueError: fewer than 2 anchors, or more than there are; a setting out of its range.
            BudgetExceededError: fewer frames left than that takes; none was taken.
            ExposureError: the camera is dark, or sees next to nothing but white, and which exposure would do; or most rows'
                anchors could not be placed.
            MatrixChangedError: the device changed its matrix meanwhile.
            PermissionError: another exposure, without control of it.
        """
        access = device if isinstance(device, DeviceAccess) else DeviceAccess(device)
        check_seed(seed := fit(int, seed, "seed"))
        wanted: int | None = fit(
            Annotated[int, In("[2, inf)", "with fewer no point of the plane is known")] | None, anchors, "anchors"
        )
        exposure = fit(Annotated[float, In("(0, inf)", "times the device's own")], exposure, "exposure")
        if exposure != 1 and not access.exposure_control:
            raise PermissionError("another exposure needs DeviceAccess(device, exposure_control=True)")
        count: int = access.in_features if inputs is None else fit(Count, inputs, "inputs")
        if count > access.in_features:
            raise ValueError(f"`inputs` (={count}) must be at most {access.in_features}, the device's")
        if wanted is None:
            wanted = _ANCHORS if inputs else min(_ANCHORS, most_anchors(access.in_features))
        design = AnchorDesign.draw(access.in_features, count, wanted, seed=seed)
        return cls(access, design, inputs=count, seed=seed, exposure=exposure)

    def __repr__(self) -> str:
        return (
            f"LinearDevice({self.in_features} -> {self.out_features}{' real' if self.real else ''}, {self.anchors} anchors, "
            f"{self.frames_per_input} frames an input, fingerprint={self.access.fingerprint})"
        )

    def linear(self, x: Any, *, bits: int = 8, real: bool = False) -> Any:
        """Ux: [batch, in_features] -> complex64 [batch, M] (float32 of a real U), in units in which |Ux|^2 is a reading.

        Args:
            x: a tensor, which gives a tensor where it lies, or a numpy array, which gives a numpy array. Booleans and whole
                numbers are taken as they are; floats are rounded to multiples of a row's largest magnitude over
                2^(bits - 1) - 1, unless they are whole and no larger than that. All by bit planes: 0 and 1 have one, numbers
                of b bits have b.
            bits: of floats, their sign included.
            real: float32 [batch, 2 M], the real parts before the imaginary ones: a real map with i.i.d. Gaussian entries. Of a
                real U nothing changes.

        Raises:
            TypeError, ValueError: another width, complex numbers, a NaN, numbers out of range.
            BudgetExceededError: more frames than the access has left; none was taken.
            MatrixChangedError: the readings do not fit the anchors: the device was redrawn, or has drifted, since `fit`.
            ExposureError: there is no light.
        """
        if isinstance(x, np.ndarray):
            if x.dtype.kind not in "fiub":
                raise TypeError(f"inputs must be real numbers, not {x.dtype}: of complex ones give x.real and x.imag")
            return self.linear(as_tensor(x), bits=bits, real=real).numpy(force=True)
        if not isinstance(x, Tensor):
            raise TypeError(f"inputs must be a tensor or a numpy array, not {type(x).__name__}")
        if x.layout is not torch.strided:
            raise TypeError("inputs must be dense: give x.to_dense()")
        if x.ndim == 2 and x.shape[1] != self.in_features:
            raise ValueError(f"inputs must have {self.in_features} columns, not {x.shape[1]}")
        width = fit(Annotated[int, In("[2, 24]", "8 makes 8 times the frames of a binary input")], bits, "bits")
        watch, nothing = _Watch(self.trusted.to(x.device)), self._nothing(x.device)
        self._check_budget(x.detach(), width)
        found = torch.cat([nothing, *(self._numbers(rows, width, watch) for rows in pieces(x.detach(), _ROWS))])
        if self.real:
            return found.real.to(torch.float32)
        return torch.cat((found.real, found.imag), 1).to(torch.float32) if real else found.to(torch.complex64)

    def _check_budget(self, x: Tensor, bits: int) -> None:
        left = self.access.remaining
        if left is None:
            return
        frames = 0
        for rows in pieces(x, _ROWS):
            lit = self._split(as_planes(rows, bits).bits)[0].sum(2) > 0
            frames += sum(int(lit[:, p].sum()) * len(part.anchors) for p, part in enumerate(self._design.parts))
        if frames > left:
            raise BudgetExceededError(
                f"these inputs take {frames} frames, and {left} are left of the budget: none was taken"
            )

    def _nothing(self, where: torch.device) -> Tensor:
        return torch.empty(0, self.out_features, dtype=torch.complex128, device=where)

    def _numbers(self, x: Tensor, bits: int, watch: "_Watch") -> Tensor:
        planes = as_planes(x, bits)
        step = max(1, _READINGS // (self.frames_per_input * max(self.out_features, self.access.in_features // 4)))
        fields = [self._fields(some, watch) for some in pieces(planes.bits, step)]
        return planes.total(torch.cat([self._nothing(x.device), *fields]))

    def _split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """What is shown of bits in each part, [batch, parts, N], and where that is the complement, [batch, parts]."""
        regions = torch.stack([part.region for part in self._design.parts]).to(x.device)
        on = torch.nn.functional.pad(x, (0, self.access.in_features - x.shape[1]))[:, None] & regions
        # By the complement where that is darker, so that few readings reach the top.
        mirrored = 2 * on.sum(2) > regions.sum(1)
        return on ^ (mirrored[:, :, None] & regions), mirrored

    def _fields(self, x: Tensor, watch: "_Watch") -> Tensor:
        """Fields of bits, complex128 [batch, M]."""
        where, parts = x.device, self._design.parts
        on, mirrored = self._split(x)
        lit = on.sum(2)
        readings, part_of = self._measured(on, lit)
        fields = torch.zeros(len(x), self.out_features, dtype=torch.complex128, device=where)
        for p, part in enumerate(parts):
            seen, of_part = lit[:, p] > 0, readings[:, part_of == p]
            points = torch.zeros_like(fields)
            if of_part.shape[1]:
                # Kept where it was last used: moving it solves its systems anew.
                lateration = self._lateration[p] = self._lateration[p].to(where)
                points[seen] = lateration(of_part, lit[seen, p] * self._light)
                watch.add(*lateration.unexplained(of_part, points[seen]), of_part.numel())
            whole = self._blocks[:, part.own].sum(1).to(where)
            fields += torch.where(mirrored[:, p, None], whole - points, points)
        watch.check(self._lateration[0].variance)
        return fields

    def _measured(self, on: Tensor, lit: Tensor) -> tuple[Tensor, Tensor]:
        """Readings with every anchor, float64 [anchors + 1, shown, M], of the parts that have a bit on, and which part each is.

        Input after input, and part after part: a batch that is split takes the same frames in the same order.
        """
        anchors = torch.stack([part.anchors @ self._design.blocks for part in self._design.parts]).to(on.device)
        frames = (on[:, :, None] + anchors)[lit > 0]
        with known_bits():
            readings = self.access.measure(frames.flatten(0, 1), exposure=self._exposure)
        return readings.unflatten(0, frames.shape[:2]).transpose(0, 1).to(torch.float64), (lit > 0).nonzero()[:, 1]


class _Watch:
    """Whether the readings of a call fit the anchors."""

    def __init__(self, rows: Tensor) -> None:
        self._rows, self._left, self._spread, self._readings = rows, 0.0, 0.0, 0

    def add(self, left: Tensor, spread: Tensor, readings: int) -> None:
        """Take note of what `Lateration.unexplained` says of some readings."""
        self._left += float(left[self._rows].sum())
        self._spread += float(spread[self._rows].sum())
        self._readings += readings

    def check(self, variance: float) -> None:
        if self._readings and not self._spread > 0:
            raise ExposureError(
                "every reading is the same, with whatever anchor: the device is dark, or white; look at its light"
            )
        # Beyond what the noise of so many readings may come to by chance.
        if self._left > _STRAY * self._spread + 5 * variance * math.sqrt(2 * self._readings):
            raise MatrixChangedError(
                f"the readings do not fit the anchors: {self._left / self._spread:.0%} of their spread is unexplained. The "
                "device was redrawn, has drifted or was moved since LinearDevice.fit: fit again"
            )
