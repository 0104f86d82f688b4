"""Device files: where the secret of a simulated device lives, apart from every model."""

import hashlib
import json
import stat
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

from groundglass.core import DamagedFileError, atomic_write, read_json, write_json
from groundglass.optics.camera import Camera
from groundglass.optics.media import DoesNotFitError, make_medium
from groundglass.optics.medium import DeviceKind
from groundglass.optics.moving import MovingDevice
from groundglass.optics.sealed import Seed
from groundglass.optics.simulated import Exposure, SimulatedOPU

_FORMAT = "groundglass optical device"
# 1: dense devices alone, drawn by the first recipe; still read.
_VERSION = 2
_SUFFIX = ".device"
_MOVING_FORMAT = "groundglass moving device"
_MOVING_VERSION = 1
_MOVING_SUFFIX = ".moving"


def save_device(device: SimulatedOPU, path: Path) -> None:
    """See `SimulatedOPU.save`."""
    if path.exists() and not _holds(path, device.fingerprint):
        raise FileExistsError(
            f"{path} is there already, and is not this device's file: a secret that is overwritten is lost, and so is every "
            "network that was trained with it. Give another name, or remove the file first"
        )
    content = {
        "format": _FORMAT,
        "version": _VERSION,
        "fingerprint": device.fingerprint,
        "in_features": device.in_features,
        "out_features": device.out_features,
        "kind": device.kind,
        "draw": device._medium.draw,
        "matrix": device.matrix,
        "camera": asdict(device.camera),
        "exposure": asdict(device.exposure),
        "noise_seed": device.noise_seed,
        # Hex: a JSON number of 128 bits would be rounded by other readers.
        "seed": device._medium.seed.reveal(),
    }
    content["checksum"] = _checksum(content)
    with atomic_write(path, "w", private=True) as file:
        json.dump(content, file, indent=2)
        file.write("\n")


def _holds(path: Path, fingerprint: str) -> bool:
    """Whether the file says that it is that device's; anything else, damaged or not, is somebody's."""
    try:
        content = read_json(path)
    except (DamagedFileError, OSError, ValueError):
        return False
    return isinstance(content, dict) and content.get("fingerprint") == fingerprint


def load_device(path: Path) -> SimulatedOPU:
    """See `SimulatedOPU.load`."""
    if not path.is_file():
        raise FileNotFoundError(f"no device file {path}: a run keeps its own under devices/ in its folder")
    content, seed = _read(path)
    _check_private(path)  # after: a file that is no device's needs no advice on who may read it
    try:
        kind, draw = ("dense", 1) if content["version"] == 1 else (str(content["kind"]), content["draw"])
        sizes = content["in_features"], content["out_features"]
        device = SimulatedOPU(
            make_medium(cast(DeviceKind, kind), seed, *sizes, content["matrix"], draw=draw),
            Camera(**content["camera"]),
            Exposure(**content["exposure"]),
            content["noise_seed"],
        )
        fingerprint = content["fingerprint"]
    except DoesNotFitError as error:
        raise DoesNotFitError(f"{path} is whole, and cannot be opened here. {error}") from None
    except (KeyError, TypeError, ValueError) as error:
        raise DamagedFileError(f"the device file {path} does not describe a device: {error}") from error
    if device.fingerprint != fingerprint:
        raise DamagedFileError(
            f"the device made from {path} answers as {device.fingerprint}, the file was saved for {fingerprint}: "
            "it was altered, or this groundglass makes devices in another way; restore the file or the version"
        )
    return device


class DeviceStore:
    """A folder of device files, each named by its device's fingerprint.

    A moving device lies there as the files of its K devices and one that lists their fingerprints, with no secret in it.

    Args:
        folder: made, for its owner alone, when the first device is put in.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)

    def __repr__(self) -> str:
        return f"DeviceStore({str(self.folder)!r})"

    def path(self, fingerprint: str) -> Path:
        """Where the file of this device is, or would be; of a moving one that is here, the list."""
        if not fingerprint or set(fingerprint) - set("0123456789abcdef"):
            raise ValueError(f"a simulated device's fingerprint is hex digits, not {fingerprint!r}")
        listed = self.folder / f"{fingerprint}{_MOVING_SUFFIX}"
        return listed if listed.exists() else self.folder / f"{fingerprint}{_SUFFIX}"

    def fingerprints(self) -> list[str]:
        """Of the devices that are here."""
        return sorted(p.stem for suffix in (_SUFFIX, _MOVING_SUFFIX) for p in self.folder.glob(f"*{suffix}"))

    def put(self, device: SimulatedOPU | MovingDevice) -> Path:
        """Save a device; returns its file. A device that is already here is left as it is."""
        if isinstance(device, MovingDevice):
            return self._put_moving(device)
        path = self.path(device.fingerprint)
        if not path.exists():
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            device.save(path)
        return path

    def find(
        self, fingerprint: str, *, in_features: int | None = None, out_features: int | None = None
    ) -> SimulatedOPU | MovingDevice:
        """The device with this fingerprint. A moving one has a new, secret stream of draws: see `MovingDevice.with_draws`.

        Args:
            fingerprint: as kept with the model that was trained with the device.
            in_features, out_features: the sizes that the model needs, checked when given.

        Raises:
            FileNotFoundError: not here, or one of a moving device's; names the folder and what is there.
            PermissionError, DamagedFileError: see `SimulatedOPU.load`.
            ValueError: the device has other sizes.
        """
        path = self.path(fingerprint)
        if not path.exists():
            here = ", ".join(self.fingerprints()) or "none"
            raise FileNotFoundError(
                f"no device {fingerprint} in {self.folder} (devices there: {here}): a model works only with the device "
                "it was trained with; copy that device's file here, or train again with a new device"
            )
        device = self._load_moving(path) if path.suffix == _MOVING_SUFFIX else SimulatedOPU.load(path)
        if device.fingerprint != fingerprint:
            raise DamagedFileError(
                f"{path} holds device {device.fingerprint}, not the one that it is named by: rename it or restore it"
            )
        for name, wanted in (("in_features", in_features), ("out_features", out_features)):
            found = getattr(device, name)
            if wanted is not None and found != wanted:
                raise ValueError(
                    f"device {fingerprint} has {name}={found}, the model needs {wanted}: this is the device of another model"
                )
        return device

    def _put_moving(self, device: MovingDevice) -> Path:
        """Its devices first: a list of devices that are not there would be of no use."""
        for each in device.devices:
            self.put(each)
        path = self.folder / f"{device.fingerprint}{_MOVING_SUFFIX}"
        if not path.exists():
            listed = [each.fingerprint for each in device.devices]
            write_json(path, {"format": _MOVING_FORMAT, "version": _MOVING_VERSION, "devices": listed})
        return path

    def _load_moving(self, path: Path) -> MovingDevice:
        content = read_json(path)
        listed = content.get("devices") if isinstance(content, dict) else None
        if not isinstance(listed, list) or content.get("format") != _MOVING_FORMAT:
            raise DamagedFileError(f"{path} is not the list of a moving device")
        if content.get("version") != _MOVING_VERSION:
            raise DamagedFileError(
                f"the list {path} has format version {content.get('version')}, this groundglass reads {_MOVING_VERSION}"
            )
        try:
            if any(self.path(str(fingerprint)).suffix == _MOVING_SUFFIX for fingerprint in listed):
                raise ValueError("one of them is a moving device itself")
            return MovingDevice([cast(SimulatedOPU, self.find(str(fingerprint))) for fingerprint in listed])
        except ValueError as error:
            raise DamagedFileError(f"{path} does not list the devices of one moving device: {error}") from error


def _checksum(content: dict[str, Any]) -> str:
    covered = {key: value for key, value in content.items() if key != "checksum"}
    return hashlib.sha256(json.dumps(covered, sort_keys=True).encode()).hexdigest()


def _read(path: Path) -> tuple[dict[str, Any], Seed]:
    """The checked content of a device file, and apart from it the seed."""
    content = read_json(path)
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        del content  # whatever it is, a traceback with local variables does not show it
        raise DamagedFileError(f"{path} is not a device file")
    whole = content.get("checksum") == _checksum(content)
    seed = _seed(content.pop("seed", None))
    if not whole or seed is None:
        raise DamagedFileError(f"the device file {path} was truncated or altered: restore it from a copy")
    if content.get("version") not in (1, _VERSION):
        raise DamagedFileError(
            f"the device file {path} has format version {content.get('version')}, this groundglass reads 1 to {_VERSION}: "
            "use the groundglass that wrote it, or a newer one"
        )
    return content, seed


def _seed(text: Any) -> Seed | None:
    try:
        return Seed(int(text, 16))
    except (TypeError, ValueError):
        return None


def _check_private(path: Path) -> None:
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        raise PermissionError(
            f"the device file {path} may be read or written by others (mode {mode:04o}): it holds the secret of the "
            f"device. Run: chmod 600 {path}"
        )
