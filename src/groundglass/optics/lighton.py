"""A real optical processing unit behind the same protocol: any object with LightOn's `transform`."""

from typing import Annotated, Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from groundglass.core import generator, uniform
from groundglass.core.sealed import Single
from groundglass.core.settings import Count, In, fit
from groundglass.optics.device import Array, alike, as_bits

_DARK = "the camera sees nothing; check the laser, the shutter and the exposure"


class Transforms(Protocol):
    """What the wrapped object must have: uint8 0/1 [batch, N] -> uint8 [batch, M], numpy or torch, see below.

    LightOn's `OPU(n_components=M).fit1d(n_features=N, online=True)` is one; nothing of its library is imported here.
    """

    def transform(self, bits: Any) -> Any: ...


class LightOnOPU(Single):
    """An `OpticalDevice` over an object with `transform`.

    Such a device has no secret in this process and no recipe: its fingerprint is a name that its owner gives it,
    and its mean reading has to be kept with the models, as two calibrations differ by the noise.

    Args:
        opu: the object, fitted for N inputs, its exposure set.
        in_features: N.
        out_features: M.
        mean_reading: the mean reading, from `calibrate` or kept from an earlier one.
        fingerprint: the name by which models find the device again.
        arrays: what `transform` takes. It may return either.
        rows_per_call: longer batches are handed over in pieces, so that no call runs into a time-out.

    Raises:
        TypeError: `opu` has no `transform`.
        ValueError: sizes that do not fit the object's own, or a mean reading that is not above 0.
    """

    _unpickled = (
        "is an apparatus and is not pickled: save the model's state_dict, device.fingerprint and device.mean_reading, and "
        "wrap the OPU again with LightOnOPU(opu, ..., mean_reading=...)"
    )

    def __init__(
        self,
        opu: Transforms,
        in_features: int,
        out_features: int,
        *,
        mean_reading: float,
        fingerprint: str = "lighton",
        arrays: Literal["numpy", "torch"] = "numpy",
        rows_per_call: int = 3000,
    ) -> None:
        if not callable(getattr(opu, "transform", None)):
            raise TypeError(f"a {type(opu).__name__} has no `transform`: hand over the fitted OPU object itself")
        components = getattr(opu, "n_components", out_features)
        if components != out_features:
            raise ValueError(f"`out_features` (={out_features}) is not the n_components of the OPU, {components}")
        mean_reading = fit(Annotated[float, In("(0, inf)", _DARK)], mean_reading, "mean_reading")
        if not fingerprint:
            raise ValueError("`fingerprint` must not be empty: it is the name by which models find the device")
        self._opu = opu
        self._arrays = arrays
        self._rows_per_call: int = fit(Count, rows_per_call, "rows_per_call")
        self.in_features: int = fit(Count, in_features, "in_features")
        self.out_features: int = fit(Count, out_features, "out_features")
        self.fingerprint = fingerprint
        self.mean_reading = mean_reading

    @classmethod
    def calibrate(
        cls,
        opu: Transforms,
        in_features: int,
        out_features: int,
        *,
        fingerprint: str = "lighton",
        arrays: Literal["numpy", "torch"] = "numpy",
        rows_per_call: int = 3000,
        frames: int = 256,
        density: float = 0.5,
    ) -> "LightOnOPU":
        """The adapter, with the mean reading measured on `frames` random inputs of which `density` is on."""
        options = {"fingerprint": fingerprint, "arrays": arrays, "rows_per_call": rows_per_call}
        device = cls(opu, in_features, out_features, mean_reading=1.0, **options)  # type: ignore[arg-type]
        frames = fit(Count, frames, "frames")
        density = fit(Annotated[float, In("(0, 1]")], density, "density")
        draw = uniform(frames, in_features, generator=generator(0, "lighton calibration"))
        device.mean_reading = device.measure((draw < density).to(torch.uint8)).double().mean().item()
        if not device.mean_reading:
            raise ValueError(_DARK)
        return device

    def __repr__(self) -> str:
        return f"LightOnOPU({self.in_features} -> {self.out_features}, fingerprint={self.fingerprint!r})"

    def measure(self, bits: Array) -> Array:
        """Readings of `bits`: [batch, N] of 0 and 1 -> uint8 [batch, M], where `bits` lie; as `SimulatedOPU.measure` takes them.

        Raises:
            TypeError, ValueError: as `OpticalDevice.measure`.
            RuntimeError: the device answered with something else than readings.
        """
        return alike(bits, self._frames)

    def _frames(self, bits: Tensor) -> Tensor:
        given = as_bits(bits, self.in_features).detach().cpu().contiguous()
        return torch.cat([self._transform(rows) for rows in given.split(self._rows_per_call)]).to(bits.device)

    def _transform(self, rows: Tensor) -> Tensor:
        if not len(rows):
            # A real device takes no frame without an input.
            return torch.empty(0, self.out_features, dtype=torch.uint8, device="cpu")
        answer = self._opu.transform(rows.numpy() if self._arrays == "numpy" else rows)
        readings = answer if isinstance(answer, Tensor) else torch.from_numpy(np.array(answer))
        if readings.dtype != torch.uint8 or readings.shape != (len(rows), self.out_features):
            raise RuntimeError(
                f"the OPU answered {list(readings.shape)} {readings.dtype} to {len(rows)} inputs, not "
                f"[{len(rows)}, {self.out_features}] torch.uint8: was it fitted for {self.in_features} inputs, online, "
                "with 8-bit output?"
            )
        return readings.cpu()
