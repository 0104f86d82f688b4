"""A real optical processing unit behind the same protocol: any object with LightOn's `transform`."""

from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from groundglass.core import DamagedFileError, generator, uniform, write_json
from groundglass.core.checksum import sealed, unsealed
from groundglass.core.schema import read
from groundglass.core.sealed import Single
from groundglass.core.settings import Count, In, Positive, Settings, fit
from groundglass.core.untrusted import read_format
from groundglass.optics.device import Array, alike, as_bits, is_fingerprint

_FORMAT = "groundglass real device"
_VERSION = 1
_DARK = "the camera sees nothing; check the laser, the shutter and the exposure"


class Transforms(Protocol):
    """What the wrapped object must have: uint8 0/1 [batch, N] -> uint8 [batch, M], numpy or torch, see below.

    LightOn's `OPU(n_components=M).fit1d(n_features=N, online=True)` is one; nothing of its library is imported here.
    """

    def transform(self, bits: Any) -> Any: ...


@dataclass(frozen=True, kw_only=True)
class _Kept(Settings):
    """What the file of a real device holds: nothing of it is secret."""

    fingerprint: str
    in_features: Count
    out_features: Count
    mean_reading: Positive
    arrays: Literal["numpy", "torch"]
    rows_per_call: Count


class LightOnOPU(Single):
    """An `OpticalDevice` over an object with `transform`.

    Such a device has no secret in this process and no recipe: its fingerprint is a name that its owner gives it. Its mean
    reading must be kept with the models, as two calibrations differ by the noise, and a network is trained with one of them:
    `save` writes both, and `load` wraps the same apparatus again.

    Args:
        opu: the object, fitted for N inputs, its exposure set.
        in_features: N.
        out_features: M.
        mean_reading: the mean reading, from `calibrate` or kept from an earlier one.
        fingerprint: the name by which models find the device again: letters, digits, spaces, dots, hyphens and underscores.
        arrays: what `transform` takes. It may return either.
        rows_per_call: longer batches are handed over in pieces, so that no call runs into a time-out.

    Raises:
        TypeError: `opu` has no `transform`.
        ValueError: sizes that do not fit the object's own, a mean reading that is not above 0, or a name that cannot be kept.
    """

    _unpickled = (
        "is an apparatus and is not pickled: device.save(path) keeps its fingerprint and its mean reading beside the model's "
        "state_dict, and LightOnOPU.load(path, opu) wraps it again"
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
        if not is_fingerprint(fingerprint):
            raise ValueError(
                f"`fingerprint` (={fingerprint!r:.80}) must be 1 to 64 letters, digits, spaces, dots, hyphens or underscores: "
                "it is the name by which models find the device, 'lab-2' say"
            )
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

    def save(self, path: Path | str) -> None:
        """Write what a model needs to find the device again: its name, sizes and mean reading, as JSON. No secret is in it.

        Raises:
            FileExistsError: there is a file with anything else in it. Networks may need that: keep each calibration.
        """
        path, told = Path(path), sealed({"format": _FORMAT, "version": _VERSION, **asdict(self._kept())})
        try:
            write_json(path, told, new=True)
        except FileExistsError:
            with suppress(ValueError, FileNotFoundError):  # damaged, or anything else
                if _read(path) == self._kept():
                    return
            raise FileExistsError(
                f"{path} is there already, with another device or another calibration in it, which networks that were trained "
                "with it need: give another name"
            ) from None

    @classmethod
    def load(cls, path: Path | str, opu: Transforms) -> "LightOnOPU":
        """The device that was saved, over the same apparatus: the mean reading is the saved one, and no frame is taken.

        Whether the apparatus still has the exposure that it had, the file cannot say: compare with a fresh
        `calibrate(...).mean_reading`.

        Args:
            path: written by `save`.
            opu: the object, fitted as it was.

        Raises:
            FileNotFoundError: no such file.
            DamagedFileError: truncated, altered, or not the file of a real device.
            TypeError, ValueError: as the class; of another object than was saved, where it says its size.
        """
        kept = _read(Path(path))
        return cls(
            opu,
            kept.in_features,
            kept.out_features,
            mean_reading=kept.mean_reading,
            fingerprint=kept.fingerprint,
            arrays=kept.arrays,
            rows_per_call=kept.rows_per_call,
        )

    def _kept(self) -> _Kept:
        return _Kept(
            fingerprint=self.fingerprint,
            in_features=self.in_features,
            out_features=self.out_features,
            mean_reading=self.mean_reading,
            arrays=self._arrays,
            rows_per_call=self._rows_per_call,
        )

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


def _read(path: Path) -> _Kept:
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}: device.save(path) writes it when the device is calibrated")
    told = unsealed(read_format(path, _FORMAT, _VERSION, "the file of a real device"), str(path), required=True)
    kept = read(_Kept, told, str(path))
    if not is_fingerprint(kept.fingerprint):
        raise DamagedFileError(f"{path} has the fingerprint {kept.fingerprint!r:.80}: it was altered")
    return kept
