"""What cells share while a study runs: the folder, the data, the loaded networks. Nothing here is a result."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from torch import Tensor, nn

from groundglass.attacks import frozen_for_attack
from groundglass.core import Progress, silent
from groundglass.core.accelerator import Device, torch_device
from groundglass.core.sealed import Seed
from groundglass.data import Dataset
from groundglass.models import load_model
from groundglass.optics import DeviceStore, OpticalDevice
from groundglass.results import Record
from groundglass.results.kinds import DEVICE, KINDS
from groundglass.results.made import made_file


class Listener(Protocol):
    """Told what a study is doing: of the run as a whole, what begins, and what has ended with its result in a few words."""

    def note(self, text: str) -> None: ...

    def announce(self, text: str) -> None: ...

    def finished(self, name: str, said: str, seconds: float) -> None: ...


class Context:
    """Shared state of one run.

    Args:
        folder: the run folder.
        dataset: the images.
        device_seed: secret of the simulated device, for a study that must be repeatable; None draws one from the
            operating system. It goes into the device file and no record; a record only says that it was given.
        progress: shown while a cell runs.
        listener: is called when a cell starts and when it ends.
        arrays: of a record of this run, see `RecordStore.arrays`.
        where: what networks and attacks compute on, see `groundglass.core.accelerator.torch_device`.
        optical: a device that somebody else holds, which the study's network has.
        token_file: for a device at a service that is opened by its fingerprint.
    """

    def __init__(
        self,
        folder: Path,
        *,
        dataset: Dataset,
        device_seed: int | Seed | None = None,
        progress: Progress = silent,
        listener: Listener | None = None,
        arrays: Callable[[Record], dict[str, np.ndarray]] = lambda record: {},
        where: Device = "auto",
        optical: OpticalDevice | None = None,
        token_file: Path | None = None,
    ) -> None:
        # First of all: no traceback shows it.
        device_seed = None if device_seed is None else Seed(device_seed)
        self.folder = folder
        self.where = torch_device(where)
        self.arrays = arrays
        self.dataset = dataset
        self.progress = progress
        self.devices = DeviceStore(folder / "devices", token_file=token_file)
        if optical is not None:
            self.devices.lend(optical)
        self.device_seed = None if device_seed is None else device_seed.check()
        #: What the process with the study's secret did for the cell that runs: see `engine.cell.prepare`.
        self.prepared: Any = None
        self._listener = listener
        self._memo: dict[str, Any] = {}

    @property
    def few_images(self) -> Tensor:
        """The first test images, on which a copy of a network is compared with it."""
        test = self.dataset.test
        return test.head(min(len(test), 8)).floats().to(self.where)

    def device(self, record: Record) -> OpticalDevice:
        """The device of a "device" record."""
        return self.devices.find(DEVICE.result_of(record).fingerprint)

    def network_file(self, record: Record) -> Path:
        """The file of a record's network: trained, redrawn or randomised."""
        return self.file(record, KINDS[record.kind].result_of(record).checkpoint)

    def file(self, record: Record, name: str) -> Path:
        """A file that a record names, checked to be unchanged; see `made_file`."""
        return made_file(self.folder, record, name)

    def load(self, record: Record) -> nn.Module:
        """The network of a record from its file, in eval mode."""
        return load_model(self.network_file(record), find_device=self.devices.find).to(self.where)

    def network(self, record: Record) -> nn.Module:
        """The same, loaded once: to be asked, not to be changed."""
        network: nn.Module = self.memo(f"network/{record.key}", lambda: self.load(record))
        return network

    def target(self, record: Record) -> nn.Module:
        """A copy of the network that is faster to attack, if it was found to be the same; else the network itself."""

        def make() -> nn.Module:
            network = self.network(record)
            copy = frozen_for_attack(network, self.few_images)
            return copy if copy.verified else network

        target: nn.Module = self.memo(f"target/{record.key}", make)
        return target

    def memo(self, key: str, make: Any, *, keep: Callable[[Any], bool] = lambda made: True) -> Any:
        """What was made under `key`, or `make()`, kept for this run: surrogates are fitted once.

        Args:
            keep: whether to keep what was made.
        """
        if key in self._memo:
            return self._memo[key]
        made = make()
        if keep(made):
            self._memo[key] = made
        return made

    def latest(self, slot: str, key: str, make: Any) -> Any:
        """As `memo`, but only the last of a slot is kept: for what is large, and used for a few cells in a row."""
        if self._memo.get(slot, (None, None))[0] != key:
            self._memo[slot] = (key, make())
        return self._memo[slot][1]

    def note(self, text: str) -> None:
        if self._listener is not None:
            self._listener.note(text)

    def announce(self, text: str) -> None:
        if self._listener is not None:
            self._listener.announce(text)

    def report_cell(self, record: Record) -> None:
        if self._listener is not None:
            kind = KINDS.get(record.kind)
            said = "" if kind is None else kind.line(kind.result_of(record))
            self._listener.finished(record.name, said, record.seconds)
