"""A device as a transformer of scikit-learn. Needs the extra: pip install "groundglass[sklearn]"."""

from copy import deepcopy
from math import sqrt
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np

from groundglass.core.given import as_tensor
from groundglass.core.imported import require
from groundglass.core.settings import Count, In, fit
from groundglass.features.encoders import Encoder, Thermometer, check_encoder
from groundglass.optics import Camera, DeviceKind, OpticalDevice, SimulatedOPU
from groundglass.optics.device import check_device
from groundglass.optics.store import find_device
from groundglass.optics.streams.packed import rows_at_a_time

require("OPUMap", "sklearn")

from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin  # noqa: E402
from sklearn.utils import check_random_state  # noqa: E402
from sklearn.utils.validation import check_is_fitted, validate_data  # noqa: E402

# Outputs of a device that is made here, unless told otherwise.
_MADE = 1000


class OPUMap(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Random features |Ux|^2 of a device: numbers -> bits -> readings / (mean reading * sqrt(M)).

    So `transform(X) @ transform(Y).T` tends to `optical_kernel` of the bits, and a linear model on the features to a kernel
    machine. Use it in pipelines, grid searches, joblib.

    A fitted one holds a device, which is not copied and not pickled. What a pickle has is how to find the device again: the
    seed, if `random_state` gave one (such a device is public, as its seed is), or the path of its file. A device that was
    drawn fresh refuses until `save_device` has put it into a file. A device that was given is pickled if it can be.

    Args:
        n_components: M, outputs that are used; None: 1000, or all that the device given has.
        encoder: an `Encoder`, which `fit` fits to the data; None: `Thermometer()`, 8 levels at the quantiles.
        device: any `OpticalDevice`, or the path of a device file, or of another file of a `DeviceStore`, as that of a remote
            one; None: `fit` simulates one for the width of the bits.
        kind: how it is simulated, see `SimulatedOPU.create`.
        camera: of the one that is simulated; None: 8 bits without noise.
        random_state: of the one that is simulated. None: U is a fresh secret at every fit. A number, or a numpy RandomState:
            repeatable, and public.

    Attributes:
        device_: the device.
        encoder_: the encoder, fitted.
        n_features_in_, feature_names_in_: as scikit-learn has them.

    Raises:
        TypeError: on `fit`: an encoder, a camera or a device that is none.
        ValueError: on `fit`: a setting out of range, data that is not numbers, a device or an encoder of another width.
        FileNotFoundError: on `fit`, and where a pickle is read: no such device file.
    """

    def __init__(
        self,
        n_components: int | None = None,
        *,
        encoder: Encoder | None = None,
        device: OpticalDevice | Path | str | None = None,
        kind: DeviceKind = "dense",
        camera: Camera | None = None,
        random_state: Any = None,
    ) -> None:
        self.n_components = n_components
        self.encoder = encoder
        self.device = device
        self.kind = kind
        self.camera = camera
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> Self:
        """Fit the encoder to X, [rows, n], and draw the device if none was given."""
        X = validate_data(self, X, dtype=(np.float64, np.float32))
        self._check_settings()
        wanted: int | None = fit(Count | None, self.n_components, "n_components")
        self.encoder_ = (Thermometer() if self.encoder is None else self.encoder).fit(X)
        width = self.encoder_.encode(as_tensor(X[:1])).shape[1]  # refuses numbers that its thresholds are not for
        self._origin: int | str | None = None  # seed or file, by which the device is found again
        self._made: dict[str, Any] | None = None  # its other settings, of one that is made here
        if self.device is None:
            if self.random_state is not None:
                if isinstance(self.random_state, int | np.integer):
                    self._origin = fit(Annotated[int, In("[0, inf)")], self.random_state, "random_state")
                else:
                    self._origin = int(check_random_state(self.random_state).randint(2**31))
            self._made = {
                "in_features": width,
                "out_features": wanted or _MADE,
                "kind": self.kind,
                "camera": self.camera,
            }
            self.device_: OpticalDevice = self._found()
        elif isinstance(self.device, Path | str):
            self._origin = str(Path(self.device).absolute())
            self.device_ = self._found()
        else:
            self.device_ = self.device
        if self.device_.in_features != width:
            raise ValueError(
                f"the device has {self.device_.in_features} inputs, and {X.shape[1]} features become {width} bits by "
                f"{type(self.encoder_).__name__}: give another encoder, or a device of {width} inputs"
            )
        if (wanted or 1) > self.device_.out_features:
            raise ValueError(
                f"`n_components` (={wanted}) must be at most {self.device_.out_features}, what the device has"
            )
        self._n_features_out = wanted or self.device_.out_features
        return self

    def transform(self, X: Any) -> Any:
        """[rows, n] -> features [rows, n_components], float32 of float32, else float64.

        Raises:
            ValueError: what scikit-learn refuses: NaN, another n, or before `fit`.
        """
        check_is_fitted(self)
        X = validate_data(self, X, dtype=(np.float64, np.float32), reset=False)
        device, encoder, used = self.device_, self.encoder_, self._n_features_out
        features = np.empty((len(X), used), dtype=X.dtype)
        step = max(1, rows_at_a_time(device.in_features, device.out_features) // encoder.vectors)
        for start in range(0, len(X), step):
            rows = slice(start, start + step)
            readings = device.measure(encoder.encode(as_tensor(X[rows])))[:, :used]
            features[rows] = encoder.mix(readings).numpy(force=True)
        features *= 1 / (device.mean_reading * sqrt(used))
        return features

    def save_device(self, path: Path | str) -> None:
        """Write the device that was simulated into a file of its own, which holds the secret. A pickle then names the file.

        Raises:
            FileExistsError: another device's file, or any other, is there.
            TypeError: the device was given, and cannot be saved.
        """
        check_is_fitted(self)
        if not isinstance(self.device_, SimulatedOPU):
            raise TypeError(f"a {type(self.device_).__name__} has no device file: it is the caller's to keep")
        self.device_.save(path)
        self._origin = str(Path(path).absolute())

    def _check_settings(self) -> None:
        if self.encoder is not None:
            check_encoder(self.encoder)
        if self.camera is not None and not isinstance(self.camera, Camera):
            raise TypeError(f"`camera` must be a Camera, Camera(bits=8, read_noise=2.0), not {self.camera!r:.60}")
        if self.device is not None and (self.camera is not None or self.kind != "dense"):
            raise ValueError(
                "`camera` and `kind` are of a device that is simulated here, and `device` gives one: leave them out"
            )
        if not isinstance(self.device, Path | str | None):
            check_device(self.device)

    def _found(self) -> OpticalDevice:
        if isinstance(self._origin, str):
            if not Path(self._origin).exists():
                raise FileNotFoundError(
                    f"there is no device file {self._origin}, which this OPUMap measures with: put it there, or give another to "
                    "OPUMap(device=path) and fit again"
                )
            return find_device(self._origin, None)
        assert self._made is not None
        return SimulatedOPU.create(**self._made, seed=self._origin)

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = dict(super().__getstate__())  # it may be the object's own
        device = state.get("device_")
        if device is None or (self._origin is None and self._made is None):  # a given one is pickled, or refuses
            return state
        if self._origin is None:
            raise TypeError(
                "this OPUMap has drawn a device, whose secret must not be in a pickle: map.save_device(path) puts the device "
                "into a file of its own, which pickles then name; or give random_state=0 for a device that is public"
            )
        del state["device_"]
        return state | {"_fingerprint": device.fingerprint}

    def __setstate__(self, state: dict[str, Any]) -> None:
        fingerprint = state.pop("_fingerprint", None)
        super().__setstate__(state)
        if fingerprint is not None:
            self.device_ = self._found()
            if self.device_.fingerprint != fingerprint:
                where = self._origin if isinstance(self._origin, str) else "drawn by its seed"
                raise ValueError(
                    f"this OPUMap was fitted with the device {fingerprint:.80}, and the one that is there now ({where}) is "
                    f"{self.device_.fingerprint:.80}: put back the file of the first, or fit again"
                )

    def __deepcopy__(self, memo: Any) -> Self:
        copy = type(self).__new__(type(self))
        for name, value in self.__dict__.items():
            copy.__dict__[name] = value if name == "device_" else deepcopy(value, memo)
        return copy

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
