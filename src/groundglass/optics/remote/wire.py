"""What goes between a device service and its clients, and how it is written. Both sides use this file."""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor

from groundglass.core.schema import read
from groundglass.core.settings import Count, NotNegative, Positive, Settings, settings_of
from groundglass.core.text import visible
from groundglass.core.untrusted import parse_json
from groundglass.optics.camera import Camera
from groundglass.optics.device import OpticalDevice, is_fingerprint
from groundglass.optics.remote.errors import ERRORS, DeviceGoneError, DeviceServiceError
from groundglass.optics.streams.packed import packed_width

#: Headers. The fingerprint is that of the matrix that the client expects, and of the one that has answered.
FINGERPRINT = "Groundglass-Fingerprint"
#: How many rows of bits the body of a measurement holds.
ROWS = "Groundglass-Rows"
#: A name of the client's for a measurement. Asked again with it, the service goes on where the answer broke off.
REQUEST = "Groundglass-Request"
#: Times the device's own.
EXPOSURE = "Groundglass-Exposure"
#: Seconds for which a matrix that was redrawn still answers; only then is the header there.
UNTIL = "Groundglass-Seconds-Left"

#: Bytes of readings in an answer, and of bits in a request: longer batches are several measurements.
MOST_ANSWER, MOST_BODY = 2**26, 2**24
# Bytes of a description or an error.
MOST_JSON = 2**16
# Sizes of devices are below it.
_LIMIT = 2**31

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]{1,512}")
_REQUEST = re.compile(r"[A-Za-z0-9-]{1,64}")


def is_name(text: str) -> bool:
    """Whether a served device may be called this: at most 64 letters, digits, dots, hyphens and underscores."""
    return _NAME.fullmatch(text) is not None


def is_token(text: str) -> bool:
    """Whether this can stand in a header as a token."""
    return _TOKEN.fullmatch(text) is not None


def is_request(text: str) -> bool:
    """Whether a measurement may be called this: at most 64 letters, digits and hyphens."""
    return _REQUEST.fullmatch(text) is not None


@dataclass(frozen=True, kw_only=True)
class Facts(Settings):
    """What a service says of a device: all of it is public.

    Attributes:
        in_features, out_features, fingerprint, mean_reading: as of `OpticalDevice`.
        reading: the type of a reading, "uint8" or "float32".
        camera: the settings of `Camera`; None: not known, as of a real one.
        kind: the class of the device.
        public: whether its seed was given: others may know it, or find it by trying.
        rows: the most of one measurement.
        age: seconds since the matrix was drawn, as far as the service knows.
        overlap: seconds for which an old matrix goes on answering after a redraw.
        roles: of the token that asked.
        budget: frames that it has left, by the names of `Budgets`; those that are limited alone.
    """

    in_features: Count
    out_features: Count
    fingerprint: str
    mean_reading: Positive
    reading: str
    camera: Mapping[str, Any] | None
    kind: str
    public: bool
    rows: Count
    age: NotNegative
    overlap: NotNegative
    roles: tuple[str, ...]
    budget: Mapping[str, int] = field(default_factory=dict)

    @property
    def dtype(self) -> torch.dtype:
        return torch.float32 if self.reading == "float32" else torch.uint8

    def seen_by(self) -> Camera | None:
        """The camera, in this version's words."""
        if self.camera is None:
            return None
        known = {one.name for one in fields(Camera)}
        return Camera(**{name: value for name, value in self.camera.items() if name in known})


def describe(
    device: OpticalDevice, *, age: float = 0.0, overlap: float = 0.0, roles: tuple[str, ...] = ()
) -> dict[str, Any]:
    """`Facts` of a device, as they are sent."""
    camera = getattr(device, "camera", None)
    reading = "float32" if camera is not None and camera.bits is None else "uint8"
    facts = Facts(
        in_features=device.in_features,
        out_features=device.out_features,
        fingerprint=device.fingerprint,
        mean_reading=device.mean_reading,
        reading=reading,
        camera=None if camera is None else settings_of(camera),
        kind=type(device).__name__,
        public=bool(getattr(device, "public", False)),
        rows=most_rows(device.in_features, device.out_features, reading),
        age=max(0.0, age),
        overlap=overlap,
        roles=roles,
    )
    return asdict(facts)


def most_rows(in_features: int, out_features: int, reading: str) -> int:
    """Of one measurement."""
    answer = out_features * (4 if reading == "float32" else 1)
    return max(1, min(MOST_ANSWER // answer, MOST_BODY // packed_width(in_features)))


def read_facts(text: bytes, where: str) -> Facts:
    """What a service has said of a device.

    Raises:
        DeviceServiceError: no such description.
    """
    try:
        facts = read(Facts, parse_json(text, where), where)
        words = (facts.kind, *facts.roles, *facts.budget)
        if not is_fingerprint(facts.fingerprint) or any(word != visible(word) for word in words):
            raise ValueError("names that are none")
        if facts.reading not in ("uint8", "float32"):
            raise ValueError("readings that are none")
        if (
            max(facts.in_features, facts.out_features, facts.rows) >= _LIMIT
            or min(facts.budget.values(), default=0) < 0
        ):
            raise ValueError("sizes that are none")
        facts.seen_by()
    except ValueError as error:
        raise DeviceServiceError(
            f"{where} does not describe a device: is it a device service of groundglass, of a version that fits?"
        ) from error
    return facts


def read_redrawn(text: bytes, where: str) -> str:
    """The fingerprint of the matrix that a service has drawn.

    Raises:
        DeviceServiceError: it does not say so.
    """
    try:
        new = parse_json(text, where)["new"]
        if is_fingerprint(new):
            return str(new)
    except (ValueError, LookupError, TypeError):
        pass
    raise DeviceServiceError(f"{where} does not say which matrix it has drawn: device.facts() asks what it has now")


def read_seconds(text: str | None) -> float | None:
    """Seconds that a header says; None: it is not there.

    Raises:
        DeviceServiceError: it says something else.
    """
    if text is None:
        return None
    try:
        return _seconds(text)
    except ValueError:
        raise DeviceServiceError(
            f"the answer says {visible(text)!r:.40} for seconds: is there a proxy between?"
        ) from None


def _seconds(told: Any) -> float:
    seconds = float(told)
    if not 0 <= seconds < math.inf:
        raise ValueError("no time")
    return seconds


def packed(bits: Tensor) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Bits on the CPU, uint8 [rows, N] of 0 and 1, at eight a byte."""
    return np.packbits(bits.detach().contiguous().numpy(), axis=1)


def error_answer(error: DeviceServiceError) -> bytes:
    """An error as it is sent."""
    told = {"error": error.code, "message": str(error), "details": error.details, "retry_after": error.retry_after}
    return json.dumps(told).encode()


def read_error(status: int, text: bytes) -> DeviceServiceError:
    """The error of an answer. One of another service, such as a proxy between, says its status."""
    try:
        told = parse_json(text, "the answer")
        kind = ERRORS[told["error"]]
        details = {
            str(name): visible(value) if isinstance(value, str) else value for name, value in told["details"].items()
        }
        wait = None if told["retry_after"] is None else _seconds(told["retry_after"])
        return kind(visible(str(told["message"])), retry_after=wait, **details)
    except (ValueError, LookupError, TypeError, AttributeError):
        if status in (502, 503, 504):
            return DeviceGoneError(
                f"the service cannot be reached, or has too many connections ({status})", retry_after=1.0
            )
        said = visible(text[:200].decode(errors="replace"))
        return DeviceServiceError(
            f"the answer has status {status} and is none of a device service ({said!r}): does the address lead to one, and "
            "is there a proxy between?"
        )
