"""A folder of device files: where the secrets of simulated devices live, apart from every model."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import cast

from groundglass.core import DamagedFileError, make_folder, write_json
from groundglass.core.hosts import awaited
from groundglass.core.sealed import without_locals
from groundglass.core.untrusted import read_format
from groundglass.optics.counted import CountedDevice, counted, uncounted
from groundglass.optics.device import OpticalDevice, is_fingerprint
from groundglass.optics.drifting import DriftingDevice
from groundglass.optics.moving import MovingDevice
from groundglass.optics.remote.device import RemoteOPU
from groundglass.optics.remote.kept import read_remote, write_remote
from groundglass.optics.secret_file import check_private
from groundglass.optics.simulated import SimulatedOPU

_SUFFIX = ".device"
_MOVING_FORMAT = "groundglass moving device"
_MOVING_VERSION = 1
_MOVING_SUFFIX = ".moving"
_DRIFTING_FORMAT = "groundglass drifting device"
_DRIFTING_VERSION = 1
_DRIFTING_SUFFIX = ".drifting"
_REMOTE_SUFFIX = ".remote"
_DRAWS_FORMAT = "groundglass draws of a moving device"
_DRAWS_VERSION = 1
_DRAWS_SUFFIX = ".draws"

_SUFFIXES = (_SUFFIX, _MOVING_SUFFIX, _DRIFTING_SUFFIX, _REMOTE_SUFFIX)

#: What has a place in a store, with all that makes it again.
Stored = SimulatedOPU | MovingDevice | DriftingDevice


class DeviceStore:
    """A folder of device files, each named by its device's fingerprint.

    A moving device lies there as the files of its K devices and one that lists their fingerprints, with no secret in it; a
    drifting one as the file of its device and one that says how it drifts, with none either. Of one at a service the folder
    has a file that says where it is served.

    Args:
        folder: made, for its owner alone, when the first device is put in.
        token_file: for devices at a service, see `RemoteOPU`.
    """

    def __init__(self, folder: Path | str, *, token_file: Path | None = None) -> None:
        self.folder = Path(folder)
        self.token_file = token_file
        self._lent: dict[str, CountedDevice] = {}

    def lend(self, device: OpticalDevice) -> None:
        """Let `find` give this device, which somebody else holds, by its fingerprint. Its frames are counted."""
        self._lent[device.fingerprint] = counted(device)
        if isinstance(remote := uncounted(device), RemoteOPU) and remote.token_file is not None:
            self.token_file = remote.token_file.absolute()

    def keep(self, device: RemoteOPU) -> Path:
        """Keep where a device is served, so that other processes find it by its fingerprint; returns the file. No token is in it:
        whoever finds the device so must have the token that this one has."""
        make_folder(self.folder, 0o700)
        path = self.folder / f"{device.fingerprint}{_REMOTE_SUFFIX}"
        write_remote(path, device)
        return path

    @property
    def frames(self) -> int:
        """Taken, through this store, of devices that somebody else holds."""
        return sum(device.frames for device in self._lent.values())

    def __repr__(self) -> str:
        return f"DeviceStore({str(self.folder)!r})"

    def path(self, fingerprint: str) -> Path:
        """Where the file of this device is, or would be; of a moving or drifting one that is here, what names its parts."""
        if is_fingerprint(fingerprint) and (path := self.folder / f"{fingerprint}{_REMOTE_SUFFIX}").exists():
            return path  # a real device at a service has a name for a fingerprint
        if not fingerprint or set(fingerprint) - set("0123456789abcdef"):
            raise ValueError(f"a simulated device's fingerprint is hex digits, not {fingerprint!r}")
        for suffix in (_MOVING_SUFFIX, _DRIFTING_SUFFIX):
            if (path := self.folder / f"{fingerprint}{suffix}").exists():
                return path
        return self.folder / f"{fingerprint}{_SUFFIX}"

    def fingerprints(self) -> list[str]:
        """Of the devices that are here."""
        return sorted(p.stem for suffix in _SUFFIXES for p in self.folder.glob(f"*{suffix}"))

    def put(self, device: OpticalDevice, *, draws: bool = False) -> Path:
        """Save a device; returns its file. A device that is already here is left as it is.

        Args:
            draws: of a moving one, save its stream of draws too, in a file for its owner alone: a process that opens the device
                with `find(..., draws=True)` has the same stream.

        Raises:
            TypeError: a device that is not simulated here: `lend` it.
        """
        if draws and isinstance(device, MovingDevice):
            self._put_draws(device)
        if isinstance(device, MovingDevice):
            # Its devices first: the list needs them.
            for each in device.devices:
                self.put(each)
            path = self.folder / f"{device.fingerprint}{_MOVING_SUFFIX}"
            listed = [each.fingerprint for each in device.devices]
            if not path.exists():
                write_json(path, {"format": _MOVING_FORMAT, "version": _MOVING_VERSION, "devices": listed})
            return path
        if isinstance(device, DriftingDevice):
            self.put(device.device)
            path = self.folder / f"{device.fingerprint}{_DRIFTING_SUFFIX}"
            told = {"device": device.device.fingerprint, "correlation": device.correlation, "hold": device.hold}
            if not path.exists():
                write_json(path, {"format": _DRIFTING_FORMAT, "version": _DRIFTING_VERSION, **told})
            return path
        if not isinstance(device, SimulatedOPU):
            raise TypeError(f"a {type(device).__name__} is not made again from a file: `lend` it to the store")
        path = self.path(device.fingerprint)
        if not path.exists():
            make_folder(self.folder, 0o700)
            device.save(path)
        return path

    def find(
        self,
        fingerprint: str,
        *,
        in_features: int | None = None,
        out_features: int | None = None,
        draws: bool = False,
    ) -> OpticalDevice:
        """The device with this fingerprint. A moving one has a new, secret stream of draws: see `MovingDevice.with_draws`.
        A drifting one is at time 0. One that was lent, or is at a service, is the same object every time.

        Args:
            fingerprint: as kept with the model that was trained with the device.
            in_features, out_features: the sizes that the model needs, checked when given.
            draws: give a moving one the stream of draws that it was saved with, from its beginning.

        Raises:
            FileNotFoundError: not here, or one of a moving device's; names the folder and what is there.
            PermissionError, DamagedFileError: see `SimulatedOPU.load`.
            DeviceServiceError: of one at a service: see `RemoteOPU`; a `MatrixRedrawnError` if it has another matrix now.
            ValueError: the device has other sizes.
        """
        device = self._lent.get(fingerprint) or awaited(self.folder / fingerprint, lambda: self._load(fingerprint))
        for name, wanted in (("in_features", in_features), ("out_features", out_features)):
            found = getattr(device, name)
            if wanted is not None and found != wanted:
                raise ValueError(
                    f"device {fingerprint} has {name}={found}, the model needs {wanted}: this is the device of another model"
                )
        return self._with_saved_draws(device) if draws and isinstance(device, MovingDevice) else device

    def _load(self, fingerprint: str) -> OpticalDevice:
        path = self.path(fingerprint)
        if not path.exists():
            here = ", ".join(self.fingerprints()) or "none"
            raise FileNotFoundError(
                f"no device {fingerprint} in {self.folder} (devices there: {here}): a model works only with the device "
                f"it was trained with. In a folder that is the file {path.name}; give a file of another name "
                "itself. If there is none, train again with a new device"
            )
        others: dict[str, Callable[[Path], OpticalDevice]] = {
            _MOVING_SUFFIX: self._load_moving,
            _DRIFTING_SUFFIX: self._load_drifting,
            _REMOTE_SUFFIX: self._open,
        }
        device = others.get(path.suffix, SimulatedOPU.load)(path)
        if device.fingerprint != fingerprint:
            raise DamagedFileError(
                f"{path} holds device {device.fingerprint}, not the one that it is named by: rename it or restore it"
            )
        return device

    def _open(self, path: Path) -> CountedDevice:
        device = read_remote(path, token_file=self.token_file)
        self.lend(device)
        return self._lent[device.fingerprint]

    @without_locals
    def _put_draws(self, device: MovingDevice) -> None:
        make_folder(self.folder, 0o700)
        told = {"format": _DRAWS_FORMAT, "version": _DRAWS_VERSION, "key": f"{device.stream_key():x}"}
        write_json(self.folder / f"{device.fingerprint}{_DRAWS_SUFFIX}", told, private=True)

    @without_locals
    def _with_saved_draws(self, device: MovingDevice) -> MovingDevice:
        path = self.folder / f"{device.fingerprint}{_DRAWS_SUFFIX}"
        if not path.exists():
            return device
        check_private(path)
        with suppress(ValueError):  # whose words, and what is kept with them, show what the file holds
            told = read_format(path, _DRAWS_FORMAT, _DRAWS_VERSION, "the draws of a moving device")
            return device.with_stream(int(str(told.get("key")), 16))
        raise DamagedFileError(
            f"{path} does not hold the draws of a moving device in format version {_DRAWS_VERSION}: restore it from a copy"
        )

    def _load_moving(self, path: Path) -> MovingDevice:
        listed = read_format(path, _MOVING_FORMAT, _MOVING_VERSION, "the list of a moving device").get("devices")
        if not isinstance(listed, list):
            raise DamagedFileError(f"{path} is not the list of a moving device")
        try:
            if any(self.path(str(fingerprint)).suffix == _MOVING_SUFFIX for fingerprint in listed):
                raise ValueError("one of them is a moving device itself")
            return MovingDevice([cast(SimulatedOPU, self.find(str(fingerprint))) for fingerprint in listed])
        except ValueError as error:
            raise DamagedFileError(f"{path} does not list the devices of one moving device: {error}") from error

    def _load_drifting(self, path: Path) -> DriftingDevice:
        told = read_format(path, _DRIFTING_FORMAT, _DRIFTING_VERSION, "the file of a drifting device")
        try:
            start = self.path(str(told.get("device")))
            if start.suffix != _SUFFIX:
                raise ValueError("what it drifts from is no simulated device")
            device = cast(SimulatedOPU, self.find(start.stem))
            return DriftingDevice(device, correlation=told["correlation"], hold=told["hold"])
        except (KeyError, TypeError, ValueError) as error:
            raise DamagedFileError(f"{path} does not describe a drifting device: {error}") from error


def find_device(where: Path | str, fingerprint: str | None, *, token_file: Path | None = None) -> OpticalDevice:
    """The device of a device file; or, of a folder of them, the one with this fingerprint.

    Args:
        token_file: see `DeviceStore`.

    Raises:
        FileNotFoundError: there is no such file, or no such device in the folder.
        PermissionError, DamagedFileError: as `DeviceStore.find`.
        ValueError: a folder, and no fingerprint.
    """
    where = Path(where)
    if where.is_dir():
        if fingerprint is None:
            raise ValueError(f"{where} is a folder, and it is not known which device is needed: give the device file")
        return DeviceStore(where, token_file=token_file).find(fingerprint)
    if not where.exists() and fingerprint is not None and where.suffix not in _SUFFIXES:
        return DeviceStore(where).find(fingerprint)  # a folder that is not there: the error says what was looked for
    if where.suffix in _SUFFIXES[1:]:
        return DeviceStore(where.parent, token_file=token_file).find(where.stem)
    return SimulatedOPU.load(where)
