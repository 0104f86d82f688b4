"""A folder of device files: where the secrets of simulated devices live, apart from every model."""

from pathlib import Path
from typing import cast

from groundglass.core import DamagedFileError, make_folder, read_json, write_json
from groundglass.optics.moving import MovingDevice
from groundglass.optics.simulated import SimulatedOPU

_SUFFIX = ".device"
_MOVING_FORMAT = "groundglass moving device"
_MOVING_VERSION = 1
_MOVING_SUFFIX = ".moving"


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
            # Its devices first: the list needs them.
            for each in device.devices:
                self.put(each)
            path = self.folder / f"{device.fingerprint}{_MOVING_SUFFIX}"
            listed = [each.fingerprint for each in device.devices]
            if not path.exists():
                write_json(path, {"format": _MOVING_FORMAT, "version": _MOVING_VERSION, "devices": listed})
            return path
        path = self.path(device.fingerprint)
        if not path.exists():
            make_folder(self.folder, 0o700)
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

    def _load_moving(self, path: Path) -> MovingDevice:
        content = read_json(path)
        listed = content.get("devices") if isinstance(content, dict) else None
        if not isinstance(listed, list) or content.get("format") != _MOVING_FORMAT:
            raise DamagedFileError(f"{path} is not the list of a moving device")
        if content.get("version") != _MOVING_VERSION:
            raise DamagedFileError(
                f"the list {path} has format version {content.get('version')!r:.20}, this groundglass reads {_MOVING_VERSION}"
            )
        try:
            if any(self.path(str(fingerprint)).suffix == _MOVING_SUFFIX for fingerprint in listed):
                raise ValueError("one of them is a moving device itself")
            return MovingDevice([cast(SimulatedOPU, self.find(str(fingerprint))) for fingerprint in listed])
        except ValueError as error:
            raise DamagedFileError(f"{path} does not list the devices of one moving device: {error}") from error
