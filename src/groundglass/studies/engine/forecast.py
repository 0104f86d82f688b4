"""What a study would do, before anything runs: its cells, what they need, and how long they take on so many workers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from groundglass.core.accelerator import Device, torch_device
from groundglass.core.platform import usable_cores
from groundglass.core.settings import Count, fit
from groundglass.optics import OpticalDevice
from groundglass.optics.medium import DeviceKind
from groundglass.results import RecordStore
from groundglass.results.manifest import STUDY_FILE, check_vacant
from groundglass.studies.asked import Asked
from groundglass.studies.engine.cell import key_of
from groundglass.studies.engine.estimate import USUAL, Speeds, measured, timed
from groundglass.studies.engine.frames import frames_left
from groundglass.studies.engine.given import GivenDevice, LeftOut
from groundglass.studies.engine.local import fitting_jobs
from groundglass.studies.engine.plan import Plan
from groundglass.studies.engine.planned import StudyPlan
from groundglass.studies.engine.schedule import in_order
from groundglass.studies.engine.simulate import Timed, bound, longest_chain, remaining, simulate
from groundglass.studies.registry import Study, find_study
from groundglass.training import Precision

# Seconds of measuring this machine.
_MEASURE = 2.0


@dataclass(frozen=True)
class OfKind:
    """The cells of a kind. `seconds`, of a worker, `longest` and `memory` (bytes of one) are of those that are left.

    Attributes:
        alone: each measures time, and has a computer to itself.
    """

    kind: str
    cells: int
    there: int
    seconds: float
    longest: float
    memory: int
    alone: bool


@dataclass(frozen=True)
class Forecast:
    """What is left of a study, with what it takes.

    Attributes:
        study, recipe, data: names.
        plan: all of its cells.
        left: those that the run folder lacks, inputs first.
        jobs, nodes: the most cells side by side, and on how many computers.
        threads: of each.
        speeds: of this machine, by the width of the network; none where nothing is left.
        frames: that what is left takes of the device that was given, about; None: none was given.
        frames_left: of that device's budget; None: no limit, or not known.
        left_out: what is not asked of that device, as it takes more than readings.
    """

    study: str
    recipe: str
    data: str
    plan: Plan
    left: tuple[Timed, ...]
    jobs: int
    nodes: int
    threads: int
    speeds: Mapping[float, Speeds]
    frames: int | None = None
    frames_left: int | None = None
    left_out: tuple[LeftOut, ...] = ()

    @property
    def seconds(self) -> float:
        """Of one worker."""
        return sum(cell.seconds for cell in self.left)

    @cached_property
    def kinds(self) -> tuple[OfKind, ...]:
        """In the order of the plan."""
        left = {cell.key: cell for cell in self.left}
        found = []
        for kind in dict.fromkeys(unit.kind for unit in self.plan.units.values()):
            units = [unit for unit in self.plan.units.values() if unit.kind == kind]
            own = [left[unit.key] for unit in units if unit.key in left]
            seconds = [cell.seconds for cell in own]
            memory = max((self.plan.memory(cell.key) for cell in own), default=0)
            alone = any(unit.alone for unit in units)
            there = len(units) - len(own)
            found.append(OfKind(kind, len(units), there, sum(seconds), max(seconds, default=0.0), memory, alone))
        return tuple(found)

    @property
    def chain(self) -> tuple[tuple[str, float], ...]:
        """The critical path: names and seconds of cells each of which waits for the one before."""
        return tuple((self.plan.units[cell.key].name, cell.seconds) for cell in longest_chain(self.left))

    def wall(self, workers: int) -> tuple[float, float]:
        """Seconds until all is done on so many workers, and the least that any order of cells could take."""
        priority = None if in_order(workers) else remaining(self.left)
        found = simulate(self.left, workers, nodes=min(self.nodes, workers), priority=priority)
        return found, bound(self.left, workers)

    @property
    def workers(self) -> tuple[int, ...]:
        """1, 2, 4, ... up to the most."""
        return tuple(sorted({self.jobs, *(2**power for power in range(self.jobs.bit_length()))}))


def forecast(
    study: str | Study,
    recipe: str | None = None,
    *,
    out: Path | str | None = None,
    config: Any = None,
    changes: Sequence[str] = (),
    data: str | None = None,
    seed: int | None = None,
    device_kind: DeviceKind | None = None,
    optical_device: OpticalDevice | None = None,
    data_dir: Path | None = None,
    precision: Precision | None = None,
    executor: Literal["local", "ray"] = "local",
    jobs: int | None = None,
    nodes: int = 1,
    like: Path | str | None = None,
    device: Device = "auto",
) -> Forecast:
    """What `run_study` with the same arguments would do. Nothing is run but a measurement of this machine, some seconds.

    Args:
        out: the run folder; what it has is not done again. None: nothing is there.
        executor: "local": processes of this machine; "ray": workers on `nodes` computers like this one.
        jobs: cells side by side, on all computers together; None: as many as fit on this one.
        nodes: computers, for Ray. On each a cell that measures time waits until it has it to itself.
        like: an earlier run, whose cells say how long they and their like take.

    Raises:
        ValueError: unknown names, settings that cannot be, or several computers without Ray.
        FileNotFoundError: no study in `like`.
    """
    jobs, nodes = fit(Count | None, jobs, "jobs"), fit(Count, nodes, "nodes")
    if nodes > 1 and executor == "local":
        raise ValueError(f"{nodes} computers need Ray: give --executor ray, or one of `nodes`")
    where, study = torch_device(device), find_study(study) if isinstance(study, str) else study
    asked = Asked.of(study, recipe, config, changes, data=data, seed=seed, device_kind=device_kind)
    earlier = None if like is None else RecordStore.read(Path(like))
    given = None if optical_device is None else GivenDevice.of(optical_device)
    if given is not None:
        asked = given.asked(asked)
    folder = None if out is None else Path(out)
    if folder is not None:
        check_vacant(folder)
    folders = () if folder is None else (folder,)
    found = StudyPlan.of(asked, precision=precision, folders=folders, where=where, data_dir=data_dir, given=given)
    dataset, cells = found.dataset, found.cells
    plan = Plan.of(cells, train=len(dataset.train), test=len(dataset.test))
    store = RecordStore.read(folder) if folder is not None and (folder / STUDY_FILE).exists() else None
    missing = {key_of(cell) for cell in cells if store is None or key_of(cell) not in store}
    side_by_side = max(nodes, fitting_jobs(where) * nodes if jobs is None else jobs)
    threads = max(1, usable_cores() * nodes // side_by_side)
    widths = sorted({plan.width(key) for key in missing})
    size = None if dataset.size == (32, 32) else dataset.size
    speeds = {
        width: measured(
            width, size=size, precision=found.precision, where=where, threads=threads, seconds=_MEASURE / len(widths)
        )
        for width in widths
    }
    estimates = timed(plan, speeds or USUAL, like=() if earlier is None else earlier.records)
    left = tuple(cell for cell in estimates.values() if cell.key in missing)
    return Forecast(
        study.name,
        asked.recipe,
        dataset.name,
        plan,
        left,
        side_by_side,
        nodes,
        threads,
        speeds,
        frames=None if given is None else sum(frames_left(plan, key, folder) for key in missing),
        frames_left=None if given is None else given.frames_left,
        left_out=tuple(found.left_out),
    )
