"""How readings were taken, which comes with them."""

from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt

from groundglass.compat.lightonml.types import FeaturesFormat

Pair = tuple[int, int]


@dataclass
class Context:
    """Of a transform. Times in microseconds; regions by their corner and their shape.

    Attributes:
        n_ones: mean number of ones in a vector.
        fmt_type, fmt_factor: how features lie on the display.
    """

    exposure_us: int | None = None
    frametime_us: int | None = None
    output_roi_upper: Pair | None = None
    output_roi_shape: Pair | None = None
    start: datetime | None = None
    gain: float | None = None
    end: datetime | None = None
    input_roi_upper: Pair | None = None
    input_roi_shape: Pair | None = None
    n_ones: int | None = None
    fmt_type: FeaturesFormat | None = None
    fmt_factor: int | None = None

    def as_dict(self) -> dict[str, Any]:
        """All that is known, by LightOn's names."""
        found: dict[str, Any] = {}
        for name in (field.name for field in fields(self)):
            value = getattr(self, name)
            if name.endswith("_upper"):
                name, value = name.removesuffix("_upper"), (value, getattr(self, name.replace("_upper", "_shape")))
            elif name.endswith("_shape"):
                continue
            if name == "fmt_type" and value is not None:
                value = value.name
            if value is not None and value != (None, None):
                found["gain_dB" if name == "gain" else name] = value
        return found

    def as_flat_dict(self) -> dict[str, Any]:
        """The same, with a number an entry."""
        found: dict[str, Any] = {}
        for name, value in self.as_dict().items():
            if name.endswith("_roi"):
                parts = (("position", value[0]), ("shape", value[1]))
                found |= {f"{name}_{what}_{axis}": pair[axis] for what, pair in parts for axis in (0, 1)}
            else:
                found[name] = value
        return found

    def __str__(self) -> str:
        return str(self.as_dict())


class ContextArray(np.ndarray):
    """An array with a `context`. `np.array(readings)` is one without."""

    context: Context | None

    def __new__(cls, input_array: npt.NDArray[Any], context: Context | None) -> "ContextArray":
        made = np.asarray(input_array).view(cls)
        made.context = context
        return made

    def __array_finalize__(self, obj: Any) -> None:
        self.context = getattr(obj, "context", None)
