"""How well a device is retrieved from how many frames: one curve, as numbers, a frame and a picture."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from groundglass.core import Progress, silent
from groundglass.core.imported import library
from groundglass.core.plots import new_figure
from groundglass.core.sealed import without_locals
from groundglass.core.settings import Count, fit
from groundglass.optics.access import DeviceAccess
from groundglass.optics.device import OpticalDevice
from groundglass.optics.drifting import DriftingDevice
from groundglass.optics.retrieval.fixed_exposure import FixedExposure
from groundglass.optics.retrieval.method import RetrievalMethod
from groundglass.optics.retrieval.plan import frames_of
from groundglass.optics.retrieval.retrieve import Retrieved, frames_needed, retrieve, row_errors
from groundglass.optics.simulated import SimulatedOPU
from groundglass.optics.true_matrix import true_matrix

if TYPE_CHECKING:
    import pandas as pd

# Of the fewest frames that a method can do with: there and a little further errors fall steeply.
_TIMES = (1.0, 1.25, 1.5, 2.0, 3.0)


@dataclass(frozen=True)
class ErrorPoint:
    """One retrieval of a curve.

    Attributes:
        frames: taken, those for checks included.
        error: median over rows of the relative error of the retrieved U, see `row_errors`; None where nobody has U.
        error_worst: the largest of a row; None likewise.
        held_out: median over rows of the distance between predicted and held-out readings, as a share of `chance`. While it is
            small and the camera steady, √2 times it is about the error: equation (o) of docs/theory.md.
        chance: that distance for a reading of another input, in reading steps.
        noise: std of a reading between frames of one input, as measured, in reading steps: no prediction can be better.
        told_wrong: share of the rows that the held-out readings show to be wrong.
        device_seconds: of the frames, at 2,000 a second.
        compute_seconds: of this machine, without what simulating the frames takes.
    """

    frames: int
    error: float | None
    error_worst: float | None
    held_out: float
    chance: float
    noise: float
    told_wrong: float
    device_seconds: float
    compute_seconds: float


@dataclass(frozen=True)
class ErrorCurve:
    """Error of a retrieved device against frames. No matrix is in it.

    Attributes:
        fingerprint: of the device.
        method: how it was retrieved, by name.
        in_features: N.
        rows: outputs that were retrieved.
        seed: of the inputs and starts.
        points: by frames.
    """

    fingerprint: str
    method: str
    in_features: int
    rows: int
    seed: int
    points: tuple[ErrorPoint, ...] = field(repr=False)

    def to_frame(self) -> "pd.DataFrame":
        """A row a retrieval: the fields of `ErrorPoint`, NaN for what is not known, and `frames_per_input`."""
        pd = library("pandas", "a table of results")
        frame = pd.DataFrame([asdict(point) for point in self.points])
        frame = frame.astype({"error": float, "error_worst": float})
        frame.insert(1, "frames_per_input", frame["frames"] / self.in_features)
        return frame

    def plot(self, ax: Any = None) -> Any:
        """Error against frames an input, both on logarithmic scales. A matplotlib figure; drawn into `ax` if given.

        `curve.plot().savefig("error.png")` writes a file.
        """
        ax = new_figure().add_subplot() if ax is None else ax
        x = [point.frames / self.in_features for point in self.points]
        known = [point.error for point in self.points if point.error is not None]
        if known:
            ax.plot(x, known, marker="o", label="relative error of U (median row)")
        ax.plot(x, [point.held_out for point in self.points], marker="s", label="held-out readings, share of chance")
        ax.set(xscale="log", yscale="log", xlabel=f"frames an input (N = {self.in_features})", ylabel="error")
        ax.set_xticks(x, [f"{each:.3g}" for each in x])
        ax.xaxis.minorticks_off()
        ax.legend()
        return ax.figure


def error_curve(
    device: OpticalDevice,
    *,
    frames: Sequence[int | str] | None = None,
    method: RetrievalMethod | None = None,
    rows: int | None = None,
    seed: int = 0,
    folder: Path | str | None = None,
    progress: Progress = silent,
) -> ErrorCurve:
    """Retrieve a device from several numbers of frames, and see how well each does.

    Each retrieval sees readings alone. Of a simulated device the owner then compares what was found with U, through
    `true_matrix`; of a drifting one, with U as it is when the last frame is taken. Of a real device nobody has U: there is the
    error on held-out readings alone, which every curve has.

    Args:
        device: simulated or real; not a `DeviceAccess`, which is an attacker's.
        frames: of each retrieval, checks included: numbers, or multiples of the inputs as "12N". None: five, from the fewest that
            the method can do with to three times as many. The device takes all of them together.
        method: how to retrieve; None: `FixedExposure()`.
        rows: only the first so many outputs; None: all. A simulated device is then read there alone.
        seed: of inputs and starts.
        folder: readings and rows are kept there, a folder for each retrieval, and the same call goes on from them. They are as
            good as the secret. None: in memory.
        progress: called with the frames and rows of each retrieval.

    Raises:
        ValueError: too few frames for the method, said before one is taken; what `retrieve` raises.
        TypeError: not a device; a method that sets the exposure, and a device that cannot.
    """
    if isinstance(device, DeviceAccess) or not isinstance(device, OpticalDevice):
        raise TypeError(f"error_curve takes the device itself, as its owner has it, not a {type(device).__name__}")
    method = FixedExposure() if method is None else method
    rows = fit(Count | None, rows, "rows")
    counts = _counts(frames, method, device.in_features)
    seen = device.region(range(rows)) if isinstance(device, SimulatedOPU) and rows is not None else device
    points = []
    # The most first: what there is no memory for is refused before a frame is taken.
    for count in reversed(counts):
        found = retrieve(
            DeviceAccess(seen, exposure_control=method.exposure_control),
            method,
            frames=count,
            seed=seed,
            rows=rows,
            drifting=isinstance(device, DriftingDevice),
            folder=None if folder is None else Path(folder) / f"{count}-frames",
            progress=progress,
        )
        points.append(_point(found, _errors(seen, found)))
    return ErrorCurve(
        fingerprint=device.fingerprint,
        method=method.name,
        in_features=device.in_features,
        rows=device.out_features if rows is None else rows,
        seed=seed,
        points=tuple(reversed(points)),
    )


def _counts(frames: Sequence[int | str] | None, method: RetrievalMethod, in_features: int) -> list[int]:
    """The frames of each retrieval, in order."""
    least = frames_needed(method, in_features)
    if frames is None:
        return [round(times * least) for times in _TIMES]
    if isinstance(frames, str) or not isinstance(frames, Sequence) or not frames:
        raise TypeError(
            f'`frames` (={frames!r:.60}) must be a list of numbers, or of multiples of the inputs: ["6N", "12N"]'
        )
    found = {frames_of(one, in_features) if isinstance(one, str) else fit(Count, one, "frames") for one in frames}
    if min(found) < least:
        raise ValueError(
            f"{min(found)} frames are too few for {in_features} inputs: {method.name!r} needs at least {least}, checks included"
        )
    return sorted(found)


@without_locals
def _errors(device: OpticalDevice, found: Retrieved) -> Tensor | None:
    """Relative error of each row, where the device is simulated."""
    now = device.now() if isinstance(device, DriftingDevice) else device
    if not isinstance(now, SimulatedOPU):
        return None
    return row_errors(found.matrix, true_matrix(now)[: len(found.matrix)])


def _point(found: Retrieved, errors: Tensor | None) -> ErrorPoint:
    return ErrorPoint(
        frames=found.frames,
        error=None if errors is None else float(errors.median()),
        error_worst=None if errors is None else float(errors.max()),
        held_out=float(found.held_out.median()) / max(found.chance, 1e-12),
        chance=found.chance,
        noise=found.noise,
        told_wrong=float(found.told_wrong.float().mean()),
        device_seconds=found.device_seconds,
        compute_seconds=found.compute_seconds,
    )
