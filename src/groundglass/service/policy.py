"""The matrices of a served device: the one that measures, those that went before it, and when the next one is drawn."""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from groundglass.core import DamagedFileError, write_json
from groundglass.core.checksum import sealed, unsealed
from groundglass.core.schema import read
from groundglass.core.settings import Count, NotNegative, Positive, Settings, Tally
from groundglass.core.untrusted import read_format
from groundglass.optics.device import OpticalDevice, is_fingerprint
from groundglass.optics.drifting import DriftingDevice
from groundglass.optics.moving import MovingDevice
from groundglass.optics.remote import wire
from groundglass.optics.remote.errors import CannotRedrawError, MatrixRedrawnError, ServiceFullError
from groundglass.optics.simulated import SimulatedOPU
from groundglass.optics.store import DeviceStore, Stored
from groundglass.service.log import say

_FILE, _FORMAT, _VERSION = "versions.json", "groundglass served device", 1


@dataclass(frozen=True, kw_only=True)
class Redraw(Settings):
    """When a served device gets another matrix, besides when its operator asks for one.

    Attributes:
        frames: after so many of one matrix: it measures no more than these. None: never.
        seconds: after so long. None: never.
        overlap: seconds for which the old matrix goes on answering those who name it.
    """

    frames: Count | None = None
    seconds: Positive | None = None
    overlap: NotNegative = 0.0


@dataclass(frozen=True)
class Version:
    """A matrix under the name of a served device.

    Attributes:
        device: an `OpticalDevice`.
        until: when it answers no more, seconds since 1970; None: it is the current one.
    """

    device: Any
    until: float | None = None


@dataclass(frozen=True, kw_only=True)
class _Kept(Settings):
    """What the file says of a served device. No secret: the devices' own files are beside it.

    Attributes:
        first: fingerprint of the device that the service was given under this name.
        current: that of the one that measures.
        drawn: when, in seconds since 1970.
        frames: how many had been taken under the name until then.
        old: fingerprints of earlier ones, and until when they answer.
    """

    first: str
    current: str
    drawn: float
    frames: Tally
    old: Mapping[str, float]


class Versions:
    """Those of one name. The measuring thread calls `redraw`; all else may be called by any.

    Args:
        name: of the device at the service.
        device: what was given under it.
        folder: where the files of later ones are kept, for their owner alone; what was left there before is gone on with.
        frames: that had been taken under this name before.
        now: seconds since 1970.

    Attributes:
        in_features, out_features, policy: of all of them.
        redraws: matrices drawn since this was made.

    Raises:
        ValueError: another device was served under this name before; a policy for a device that cannot be drawn again.
        DamagedFileError: of a file in the folder.
    """

    def __init__(
        self,
        name: str,
        device: OpticalDevice,
        folder: Path,
        *,
        policy: Redraw | None = None,
        frames: int = 0,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.name, self.policy = name, policy or Redraw()
        self.in_features, self.out_features = device.in_features, device.out_features
        self._folder, self._frames, self._now = folder, frames, now
        self.redraws = 0
        self._lock = threading.Lock()
        if (self.policy.frames or self.policy.seconds) and not isinstance(device, Stored):
            raise ValueError(
                f"{name} is a {type(device).__name__}, whose matrix cannot be drawn again: give it no policy"
            )
        self._kept = self._opened(device.fingerprint)
        self._known = self._loaded(device)
        facts = wire.describe(device)
        self.rows: int = facts["rows"]
        self.row_bytes = self.out_features * (4 if facts["reading"] == "float32" else 1)
        _go_on(self.current.device, frames - self._kept.frames)

    @property
    def current(self) -> Version:
        with self._lock:
            return self._known[self._kept.current]

    @property
    def fingerprint(self) -> str:
        return self._kept.current

    def facts(self, *, roles: tuple[str, ...] = ()) -> dict[str, Any]:
        """What is public of the current one: see `wire.Facts`."""
        age = self._now() - self._kept.drawn
        return wire.describe(self.current.device, age=age, overlap=self.policy.overlap, roles=roles)

    def find(self, fingerprint: str) -> Version:
        """
        Raises:
            MatrixRedrawnError: it is not there, or no longer.
        """
        with self._lock:
            found = self._known.get(fingerprint)
            if found is not None and found.until is not None and found.until <= self._now():
                found = None
                del self._known[fingerprint]
            if found is None:
                raise MatrixRedrawnError(
                    "the device has another matrix now, whose readings would be noise to a network that was trained with "
                    "the one before: device.refresh() accepts it, and then the classifier is fitted again",
                    old=fingerprint,
                    new=self._kept.current,
                )
            return found

    def seconds_left(self, fingerprint: str) -> float | None:
        """For which an old one answers; None for the current one."""
        with self._lock:
            until = self._known[fingerprint].until if fingerprint in self._known else 0.0
        return None if until is None else max(0.0, until - self._now())

    def old(self) -> dict[str, float]:
        """Earlier ones that still answer, by fingerprint, and for how many seconds."""
        with self._lock:
            until = {name: version.until for name, version in self._known.items() if version.until is not None}
        return {name: left for name, end in until.items() if (left := end - self._now()) > 0}

    def count(self, frames: int) -> None:
        """So many were taken."""
        self._frames += frames

    @property
    def frames(self) -> int:
        """That the current one has measured."""
        return self._frames - self._kept.frames

    @property
    def can_redraw(self) -> bool:
        """Whether there can be another: of a simulated device."""
        device = self.current.device
        return isinstance(device, Stored) and not getattr(device, "is_part", False)

    @property
    def frames_left(self) -> int | None:
        """Until the next matrix is due; None: it does not depend on them."""
        most = self.policy.frames
        return None if most is None else max(0, self._kept.frames + most - self._frames)

    def until_due(self) -> float | None:
        """Seconds until the next matrix is due; None: time plays no part."""
        if self.frames_left == 0:
            return 0.0
        most = self.policy.seconds
        return None if most is None else max(0.0, self._kept.drawn + most - self._now())

    def redraw(self, *, overlap: float | None = None) -> None:
        """Another matrix in place of the current one. Its file is on the disk before it measures.

        Args:
            overlap: None: the policy's.

        Raises:
            CannotRedrawError: the device is no simulated one.
            ServiceFullError: its file cannot be written: the old one stays.
        """
        before, now = self.current, self._now()
        new = redrawn(before.device)
        until = now + (self.policy.overlap if overlap is None else overlap)
        # None before it answers for longer: what a guard ends is ended with all that is retrieved instead.
        old = {name: min(end, until) for name, end in self._kept.old.items() if end > now}
        old[before.device.fingerprint] = until
        kept = replace(self._kept, current=new.fingerprint, drawn=now, frames=self._frames, old=old)
        try:
            DeviceStore(self._folder).put(new)
            write_json(self._folder / _FILE, _written(kept), private=True)
        except OSError as error:  # which names files: not for clients
            raise ServiceFullError(
                "the service cannot write down another matrix, so the device keeps the one that it has: its operator must look "
                "at the disk of its state folder",
                retry_after=10.0,
            ) from error
        with self._lock:
            self._known = {
                name: Version(version.device, min(version.until, until))
                for name, version in self._known.items()
                if version.until is not None and min(version.until, until) > now
            }
            if until > now:
                self._known[before.device.fingerprint] = Version(before.device, until)
            self._known[new.fingerprint] = Version(new)
            self._kept = kept
            self.redraws += 1
        say("redrawn", device=self.name, old=before.device.fingerprint, new=new.fingerprint, frames=self._frames)

    def _opened(self, fingerprint: str) -> _Kept:
        path = self._folder / _FILE
        if not path.exists():
            kept = _Kept(first=fingerprint, current=fingerprint, drawn=self._now(), frames=self._frames, old={})
            write_json(path, _written(kept), private=True)
            return kept
        kept = read_versions(path)
        if fingerprint not in (kept.first, kept.current):
            raise ValueError(
                f"another device was served as {self.name} before ({kept.first}; now {kept.current}): give this one "
                f"another name, or move {self._folder} away to begin anew"
            )
        return kept

    def _loaded(self, given: Any) -> dict[str, Version]:
        """The current one, and those that still answer."""
        store, now = DeviceStore(self._folder), self._now()
        wanted: dict[str, float | None] = {name: until for name, until in self._kept.old.items() if until > now}
        return {
            name: Version(given if name == given.fingerprint else store.find(name), until)
            for name, until in (wanted | {self._kept.current: None}).items()
        }


def read_versions(path: Path) -> _Kept:
    """What a service has kept of a served device.

    Raises:
        FileNotFoundError: no such file.
        DamagedFileError: truncated, altered, or something else.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}: a service keeps one for each device that it serves")
    told = read_format(path, _FORMAT, _VERSION, "the list of a served device's matrices")
    kept = read(_Kept, unsealed(told, str(path), required=True), str(path))
    for name, until in kept.old.items():
        if not is_fingerprint(name) or not isinstance(until, int | float):
            raise DamagedFileError(f"{path} names no matrix by {name!r:.80}: it was altered")
    return kept


def redrawn(device: Any) -> Stored:
    """A device of the same kind, sizes and camera, with another secret.

    Raises:
        CannotRedrawError: it is not a simulated one.
    """
    if isinstance(device, SimulatedOPU) and not device.is_part:
        return device.redraw()
    if isinstance(device, MovingDevice):
        return MovingDevice([one.redraw() for one in device.devices])
    if isinstance(device, DriftingDevice):
        return DriftingDevice(device.device.redraw(), correlation=device.correlation, hold=device.hold)
    raise CannotRedrawError(
        "the service cannot draw another matrix of this device: where it is a real one, its medium is moved by hand, and it is "
        "served anew under another fingerprint"
    )


def _go_on(device: Any, frames: int) -> None:
    """After a restart noise and drift do not begin again, where that is in our hands."""
    if isinstance(device, SimulatedOPU) and device.camera.noisy:
        device.skip_frames(frames)
    elif isinstance(device, DriftingDevice):
        device.wait(frames)


def _written(kept: _Kept) -> dict[str, Any]:
    return sealed({"format": _FORMAT, "version": _VERSION, **asdict(kept)})
