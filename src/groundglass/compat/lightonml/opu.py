"""LightOn's OPU."""

import inspect
from collections.abc import Callable
from datetime import datetime
from math import sqrt
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch

from groundglass.compat.lightonml.context import Context, ContextArray
from groundglass.compat.lightonml.devices import Apparatus, GivenDevice, OpuDevice, SimulatedOpuDevice
from groundglass.compat.lightonml.encoding.base import NoDecoding, NoEncoding
from groundglass.compat.lightonml.inputs import Traits, like
from groundglass.compat.lightonml.types import FeaturesFormat, InputRoiStrategy, OutputRescaling
from groundglass.core import pieces
from groundglass.core.platform import versions
from groundglass.core.settings import Count, fit
from groundglass.optics import OpticalDevice
from groundglass.optics.device import check_device
from groundglass.optics.linear import LinearDevice
from groundglass.optics.streams.packed import rows_at_a_time

#: What `fit1d` and `fit2d` may override of a transform. The region on the display changes nothing here.
_OVERRIDES = {"input_roi_strategy", "n_components", "input_roi", "raw_output_size", "exposure_us", "frametime_us"}


class OPU:
    """|Rx|^2 of binary x, and Rx.

    Args:
        n_components: outputs.
        opu_device: any `OpticalDevice`, or a `SimulatedOpuDevice`; None: a simulated one is made.
        max_n_features: of a `SimulatedOpuDevice`: rows of its matrix.
        config_file, config_override: of hardware; refused.
        verbose_level, disable_pbar: nothing is printed.
        input_roi_strategy: kept.
        open_at_init: whether to open at once; None: yes.
        simulated: a `SimulatedOpuDevice`: floats, a public matrix.
        rescale: of `linear_transform`, an `OutputRescaling` or its name.

    Attributes:
        device: the apparatus: `active`, `input_shape`, times.
    """

    def __init__(
        self,
        n_components: int = 200000,
        opu_device: OpticalDevice | Apparatus | None = None,
        max_n_features: int = 1000,
        config_file: str = "",
        config_override: dict[str, Any] | None = None,
        verbose_level: int = -1,
        input_roi_strategy: InputRoiStrategy = InputRoiStrategy.full,
        open_at_init: bool | None = None,
        disable_pbar: bool = False,
        simulated: bool = False,
        rescale: OutputRescaling | str = OutputRescaling.variance,
    ) -> None:
        if simulated and opu_device is not None:
            raise ValueError("simulated and opu_device arguments are conflicting")
        if config_file or config_override:
            raise ValueError("there is no hardware to configure: for one, give opu_device=LightOnOPU.calibrate(...)")
        self.disable_pbar, self.input_roi_strategy, self.rescale = disable_pbar, input_roi_strategy, rescale
        self.device = _apparatus(opu_device, simulated)
        self._traits: Traits | None = None
        self._override: dict[str, Any] = {}
        self._linear: LinearDevice | None = None
        if isinstance(self.device, SimulatedOpuDevice):
            self.device.resize(max_n_features, fit(Count, n_components, "n_components"))
        self.n_components = n_components
        if open_at_init is None or open_at_init:
            self.open()

    @property
    def rescale(self) -> OutputRescaling:
        return self._rescale

    @rescale.setter
    def rescale(self, value: OutputRescaling | str) -> None:
        self._rescale = OutputRescaling[value.lower()] if isinstance(value, str) else OutputRescaling(value)

    @property
    def n_components(self) -> int:
        return self._n_components

    @n_components.setter
    def n_components(self, value: int) -> None:
        self._n_components = self._counted(value)
        if isinstance(self.device, SimulatedOpuDevice):
            self.device.resize(self.device.max_features, self._n_components)

    def _counted(self, n_components: int) -> int:
        count: int = fit(Count, n_components, "n_components")
        if count > self.max_n_components:
            raise ValueError(f"n_components can't be greater than {self.max_n_components}")
        return count

    @property
    def max_n_components(self) -> int:
        return self.device.max_components

    @property
    def max_n_features(self) -> int:
        return self.device.max_features

    @max_n_features.setter
    def max_n_features(self, value: int) -> None:
        if not isinstance(self.device, SimulatedOpuDevice):
            raise AttributeError("max_n_feature can't be set if device is real")
        self.device.resize(value, self._n_components)

    def __repr__(self) -> str:
        return f"OPU(n_components={self.n_components}, {type(self.device).__name__})"

    def fit1d(
        self, X: Any = None, n_features: int | None = None, packed: bool = False, online: bool = False, **override: Any
    ) -> None:
        """Say what vectors look like: by some of them, or by their number of features.

        Args:
            X: a vector, or a batch of them, of one or two dimensions.
            packed: they are at eight bits a byte.
            online: they will be transformed one by one.
            override: of LightOn's settings; `n_components`, `exposure_us` and `frametime_us` say something here.

        Raises:
            AssertionError, TypeError, ValueError: as LightOn's.
        """
        self._fit(X, n_features, packed, online, False, override)

    def fit2d(
        self,
        X: Any = None,
        n_features: tuple[int, int] | None = None,
        packed: bool = False,
        online: bool = False,
        **override: Any,
    ) -> None:
        """As `fit1d`, of vectors that are matrices."""
        self._fit(X, n_features, packed, online, True, override)

    def transform(self, X: Any, encoder_cls: Any = NoEncoding, decoder_cls: Any = NoDecoding) -> Any:
        """|Rx|^2: [n_components] of a vector; of a batch one row a vector. uint8; of a simulated device float32.

        Args:
            X: 0 and 1 in an array, which gives a `ContextArray`, or in a tensor, which gives a tensor; what is not bits is for
                an encoder.
            encoder_cls, decoder_cls: classes, or objects, with `transform`. A decoder's class is made with what `get_params` of
                the encoder says.

        Raises:
            AssertionError: not fitted, closed, or a batch in online mode.
            ValueError: another number of features; something else than 0 and 1.
        """
        return self._transform("transform", X, encoder_cls, decoder_cls, self._readings)

    def linear_transform(self, X: Any, encoder_cls: Any = NoEncoding, decoder_cls: Any = NoDecoding) -> Any:
        """Rx, real, float32, of the same R as long as device and `fit` stay the same; scaled as `rescale` says.

        By phase retrieval from intensities, see `LinearDevice`: some 700 frames at the first call, then about 32 a
        vector. A simulated device's R is known, and used.

        Raises:
            AssertionError, ValueError: as `transform`.
        """
        found = self._transform("linear_transform", X, encoder_cls, decoder_cls, self._projected)
        assert self._traits is not None
        if self.rescale is OutputRescaling.none:
            return found
        return found / sqrt(self._traits.size if self.rescale is OutputRescaling.variance else self.n_components)

    def fit_transform1d(self, X: Any, packed: bool = False, **override: Any) -> Any:
        """`fit1d`, then `transform`."""
        self.fit1d(X, None, packed, False, **override)
        return self.transform(X)

    def fit_transform2d(
        self, X: Any, packed: bool = False, n_2d_features: tuple[int, int] | None = None, **override: Any
    ) -> Any:
        """`fit2d`, then `transform`."""
        self.fit2d(X, n_2d_features, packed, False, **override)
        return self.transform(X)

    def transform1d(self, *args: Any, **kwargs: Any) -> None:
        raise RuntimeError("transform1d is deprecated, you must now use fit1d and transform")

    def transform2d(self, *args: Any, **kwargs: Any) -> None:
        raise RuntimeError("transform2d is deprecated, you must now use fit2d and transform")

    def open(self) -> None:
        self.device.open()

    def close(self) -> None:
        self.device.close()

    def __enter__(self) -> Self:
        self._active_before = self.device.active
        self.open()
        return self

    def __exit__(self, *raised: object) -> None:
        if not self._active_before:
            self.close()

    def version(self, devices: bool = False) -> str:
        """Of what stands in."""
        return f"groundglass version {versions()['groundglass']}, in the place of lightonml version 1.4.3"

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"_linear": None}  # retrieved again when it is asked for

    def _fit(self, X: Any, n_features: Any, packed: bool, online: bool, two_d: bool, override: dict[str, Any]) -> None:
        if unknown := override.keys() - _OVERRIDES:
            raise TypeError(
                f"unexpected settings: {', '.join(sorted(unknown))}; there are {', '.join(sorted(_OVERRIDES))}"
            )
        if X is not None:
            traits = Traits.of(X, packed=packed, two_d=two_d, n_features=n_features)
        else:
            assert n_features, "either input vector or n_features must be specified"
            traits = Traits.given(n_features, packed=packed)
        if traits.size > self.max_n_features:
            raise ValueError(f"input's number of features ({traits.size}) can't be greater than {self.max_n_features}")
        self._traits, self._override, self.device.online = traits, override, bool(online)

    def _transform(
        self,
        name: str,
        X: Any,
        encoder_cls: Any,
        decoder_cls: Any,
        measure: Callable[[npt.NDArray[np.uint8]], npt.NDArray[Any]],
    ) -> Any:
        assert self._traits is not None, f"Call fit1d or fit2d before {name}"
        assert self.device.active, 'OPU device isn\'t active, use opu.open() or "with opu:"'
        encoder: Any = encoder_cls() if inspect.isclass(encoder_cls) else encoder_cls
        bits, batch = self._traits.rows(encoded := encoder.transform(X))
        assert len(bits) == 1 or not self.device.online or isinstance(self.device, SimulatedOpuDevice), (
            f"Can't {name} a batch of vectors when acquisition is in online mode, only single vectors"
        )
        context = self._context(bits)
        found = ContextArray((read := measure(bits)).reshape(*batch, read.shape[1]), context)
        context.end = datetime.now()
        if inspect.isclass(decoder_cls):
            decoder: Any = decoder_cls(**(encoder.get_params() if hasattr(encoder, "get_params") else {}))
        else:
            decoder = decoder_cls
        return like(encoded, decoder.transform(found))

    def _optics(self) -> tuple[OpticalDevice, int]:
        """What measures, and how many of its outputs are read."""
        assert self._traits is not None
        outputs = self._counted(self._override.get("n_components", self.n_components))
        return self.device.optics(self._traits.size, outputs), outputs

    def _readings(self, bits: npt.NDArray[np.uint8]) -> npt.NDArray[Any]:
        device, outputs = self._optics()
        light = self._override.get("exposure_us") or self.device.exposure_us
        measure: Callable[[torch.Tensor], torch.Tensor] = device.measure
        if light != self.device.exposure_us:
            adjustable: Any = device
            if not hasattr(device, "measure_at"):
                raise ValueError(f"the exposure of a {type(device).__name__} cannot be set from here")

            def measure(rows: torch.Tensor) -> torch.Tensor:
                brighter: torch.Tensor = adjustable.measure_at(rows, light / self.device.exposure_us)
                return brighter

        found = np.empty((len(bits), outputs), dtype=self.device.output_dtype)
        step = rows_at_a_time(device.in_features, device.out_features)
        for start, rows in zip(range(0, len(bits), step), pieces(_wide(bits, device), step), strict=True):
            found[start : start + step] = measure(rows)[:, :outputs].numpy(force=True)
        if isinstance(self.device, SimulatedOpuDevice):
            found /= device.mean_reading
        return found

    def _projected(self, bits: npt.NDArray[np.uint8]) -> npt.NDArray[Any]:
        """Re(Ux), entries of U with a real part of variance 1."""
        device, outputs = self._optics()
        if isinstance(self.device, SimulatedOpuDevice):
            matrix = self.device.random_matrix
            assert matrix is not None
            return np.asarray(bits.astype(np.float32) @ matrix[: bits.shape[1]].real * sqrt(len(matrix)))
        if self._linear is None or self._linear.access.fingerprint != device.fingerprint:
            self._linear = LinearDevice.fit(device)
        real = self._linear.linear(_wide(bits, device)).real[:, :outputs].numpy(force=True)
        share = 1 if self._linear.real else 2
        return np.asarray(real / sqrt(device.mean_reading / (0.5 * device.in_features * share)), dtype=np.float32)

    def _context(self, bits: npt.NDArray[np.uint8]) -> Context:
        assert self._traits is not None
        device, flat = self.device, len(self._traits.n_features) == 1
        return Context(
            exposure_us=self._override.get("exposure_us") or device.exposure_us,
            frametime_us=self._override.get("frametime_us") or device.frametime_us,
            output_roi_upper=device.output_roi[0],
            output_roi_shape=device.output_roi[1],
            start=datetime.now(),
            gain=device.gain_dB,
            input_roi_upper=(0, 0),
            input_roi_shape=device.input_shape,
            n_ones=round(float(bits.sum(1, dtype=np.int64).mean())) if len(bits) else 0,
            fmt_type=FeaturesFormat.lined if flat else FeaturesFormat.macro_2d,
            fmt_factor=1,
        )


def _apparatus(given: OpticalDevice | Apparatus | None, simulated: bool) -> Apparatus:
    if given is None:
        return SimulatedOpuDevice() if simulated else OpuDevice()
    if isinstance(given, Apparatus):
        return given
    check_device(given, "opu_device")
    return GivenDevice(given)


def _wide(bits: npt.NDArray[np.uint8], device: OpticalDevice) -> torch.Tensor:
    """As many inputs as the device has: those beyond the features are dark."""
    return torch.nn.functional.pad(torch.from_numpy(bits), (0, device.in_features - bits.shape[1]))
