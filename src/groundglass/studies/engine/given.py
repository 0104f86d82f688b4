"""A study on a device that somebody else holds: its plan with that device in it, without what takes more than readings."""

from collections.abc import Iterable
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, Self

from groundglass.core.changes import changes_of
from groundglass.optics import Camera, OpticalDevice
from groundglass.optics.camera import camera_of
from groundglass.optics.counted import uncounted
from groundglass.optics.remote.connection import TOKEN
from groundglass.optics.remote.device import RemoteOPU
from groundglass.optics.remote.kept import opens_elsewhere
from groundglass.studies.asked import Asked
from groundglass.studies.cells.network import DeviceCell
from groundglass.studies.engine.cell import Cell, key_of


@dataclass(frozen=True)
class LeftOut:
    """A result that a study has with a device of its own, and cannot have with this one."""

    kind: str
    name: str
    why: str


@dataclass(frozen=True)
class GivenDevice:
    """What a plan must know of a device that is given.

    Attributes:
        frames_left: of the budget, in all; None: no limit, or not known.
    """

    fingerprint: str
    in_features: int
    out_features: int
    camera: Camera
    frames_left: int | None = None

    @classmethod
    def of(cls, device: OpticalDevice) -> Self:
        left = getattr(device, "frames_left", None)
        return cls(device.fingerprint, device.in_features, device.out_features, camera_of(device), left)

    def asked(self, asked: Asked) -> Asked:
        """What is asked of a study, with the sizes and the camera of this device."""
        own = {"device_in": self.in_features, "device_out": self.out_features, "camera": self.camera}
        return replace(asked, changes=(*asked.changes, *changes_of({**own, "device_kind": "dense"})))

    @property
    def told(self) -> dict[str, Any]:
        """For the manifest of a run: another device makes it another study."""
        return {"fingerprint": self.fingerprint, "in_features": self.in_features, "out_features": self.out_features}


class _LeftOutError(Exception):
    """One of a cell's inputs is left out: why."""


class Placing:
    """The cells of a plan with a given device in place of the study's own, and those that cannot be then.

    A check, or a set of common images, is of what is left. Whatever else needs a cell that is left out is left out too.
    """

    def __init__(self, device: GivenDevice) -> None:
        self._device = device
        self._made: dict[str, Cell | None] = {}
        self._left: dict[str, LeftOut] = {}
        self._met = False

    def cells(self, cells: Iterable[Cell]) -> list[Cell]:
        """These cells as they become, without those that are left out; inputs first, as they come."""
        return [made for cell in cells if (made := self._cell(cell)) is not None]

    @property
    def left_out(self) -> list[LeftOut]:
        """Of all cells so far.

        Raises:
            ValueError: no cell has the study's device.
        """
        if not self._met:
            raise ValueError(
                f"nothing of this study is done with a device of {self._device.in_features} inputs and "
                f"{self._device.out_features} outputs that is not simulated here: leave --optical-device out"
            )
        return list(self._left.values())

    def _cell(self, cell: Cell) -> Cell | None:
        """The cell as it becomes; None where it is left out."""
        key = key_of(cell)
        if key not in self._made:
            self._made[key] = self._become(cell)
        return self._made[key]

    def _become(self, cell: Cell) -> Cell | None:
        if isinstance(cell, DeviceCell) and self._is_own(cell):
            self._met = True
            return replace(cell, given=self._device.fingerprint)
        if not is_dataclass(cell):
            other = any(self._cell(one) is not one for one in cell.inputs)
            return self._leave(cell, "is a cell that cannot be given another device") if other else cell
        try:
            values = {f.name: (getattr(cell, f.name), self._value(getattr(cell, f.name))) for f in fields(cell)}
        except _LeftOutError as error:
            return self._leave(cell, str(error))
        changes = {name: now for name, (before, now) in values.items() if now is not before}
        made: Any = replace(cell, **changes) if changes else cell
        why = made.needs() if hasattr(made, "needs") else ""
        return self._leave(cell, why) if why else made

    def _is_own(self, cell: DeviceCell) -> bool:
        """The device that the study's network has: others are simulated here, whoever holds this one."""
        own = self._device
        found = (cell.in_features, cell.out_features, cell.camera, cell.matrix, cell.device_kind, cell.owner)
        return found == (own.in_features, own.out_features, own.camera, "complex", "dense", "")

    def _value(self, value: Any) -> Any:
        """A field as it becomes: a cell, some cells, or whatever else holds cells."""
        if hasattr(value, "run") and hasattr(value, "inputs"):
            found = self._cell(value)
            if found is None:
                raise _LeftOutError(self._left[key_of(value)].why)
            return found
        if not isinstance(value, tuple):
            return value
        cells = bool(value) and all(hasattr(one, "run") for one in value)
        parts = [self._cell(one) if cells else self._value(one) for one in value]
        kept = tuple(one for one in parts if not cells or one is not None)
        if cells and not kept:
            raise _LeftOutError(self._left[key_of(value[0])].why)
        same = len(kept) == len(value) and all(now is before for now, before in zip(kept, value, strict=True))
        return value if same else kept

    def _leave(self, cell: Cell, why: str) -> Cell | None:
        self._left[key_of(cell)] = LeftOut(cell.kind, cell.name, why)
        return None


def check_elsewhere(device: OpticalDevice) -> None:
    """Refuse a device that only this process has, where others would need it: ValueError."""
    remote = uncounted(device)
    if not isinstance(remote, RemoteOPU):
        raise ValueError(
            f"a {type(remote).__name__} is in this process alone, and workers would need it: run the study with jobs=1, "
            "or serve the device (`groundglass device serve`) and give a RemoteOPU"
        )
    if not opens_elsewhere(remote):
        raise ValueError(
            f"workers are not given the token of a device: put it into a file, RemoteOPU(address, token_file=...), or into the "
            f"environment as {TOKEN}; or run the study with jobs=1"
        )
