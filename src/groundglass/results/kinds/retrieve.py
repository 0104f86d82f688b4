"""Retrievals of U: of a whole device, and of a few rows to time one."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from groundglass.core.text import duration
from groundglass.results.kinds.base import Kind, column, length_of, share, through
from groundglass.results.kinds.network import CameraSettings


@dataclass(frozen=True, kw_only=True)
class RetrieveConfig:
    """A retrieval of U. `rows`: the first so many; None for all M."""

    method: str = column("fixed-exposure, multilateration or closed-form")
    settings: Mapping[str, Any]
    frames: int
    per_input: float = column("frames in units of N", "frames_per_input")
    in_features: int = column("N, input bits of the device", "inputs")
    out_features: int = column("M, readings of the device", "outputs")
    rows: int | None
    camera: CameraSettings
    exposure_control: bool
    frame_rate: float
    seed: int
    purpose: str = column("price or period for the network's own U; else what is varied: queries (frames), noise, ...")
    period: float | None = column("between two redraws, which allow so many frames", "period_seconds")
    correlation: float | None = column(
        "correlation time of U, frames", "correlation_frames", default=None, left_out=True
    )

    camera_bits = through("camera.bits", "depth of a reading")
    read_noise_levels = through("camera.read_noise", "std of the camera's noise, grey levels")
    saturated_share = through("camera.saturation", "of calibration readings at the top value")


@dataclass(frozen=True, kw_only=True)
class RowErrors:
    """Relative error of the rows, up to phase and conjugation; sqrt(2) is chance."""

    median: float
    q10: float
    q90: float
    max: float
    mean: float


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """What the attacker can tell without U: the median misfit of readings that were not used, of chance, and of noise."""

    median: float
    chance: float
    noise: float


@dataclass(frozen=True, kw_only=True)
class RetrieveResult:
    """What a retrieval reached, and what it took. `matrix`: its path within the run folder, where it is kept. `error` and
    `failed_share`: None for a device that somebody else holds, whose U is not here to compare with."""

    frames: int = column("taken, checks included")
    complete: bool = column("the method went to its end")
    note: str
    rows: int = column("of U that were retrieved")
    error: RowErrors | None
    failed_share: float | None = column("rows further off than .1")
    held_out: HeldOut
    told_share: float = column("rows that the attacker would call wrong, by held-out readings")
    retried_rows: int = column(
        "that held-out readings spoke against, and that were solved again", default=0, left_out=True
    )
    doubtful_rows: int = column("that held-out readings speak against in the end", default=0, left_out=True)
    measure_seconds: float
    compute_seconds: float = column("of this machine, on `threads`")
    device_seconds: float = column("frames at the device's rate")
    threads: int = column("of computing")
    matrix: str | None = None

    error_median = through("error.median", "relative error of a row")
    error_q10 = through("error.q10", "a tenth of the rows are better")
    error_q90 = through("error.q90", "a tenth of the rows are worse")


@dataclass(frozen=True, kw_only=True)
class RowsConfig:
    """A retrieval of some rows of a large device, to time a row."""

    method: str
    settings: Mapping[str, Any]
    device_kind: str = column("dense, procedural or structured", "simulation")
    in_features: int = column("N, input bits of the device", "inputs")
    rows: int
    frames: int
    frame_rate: float
    seed: int


@dataclass(frozen=True, kw_only=True)
class RowsResult:
    """What a row takes; all rows share the frames."""

    frames: int = column("taken")
    rows: int = column("of U that were retrieved")
    median_error: float = column("relative error of a row", "error_median")
    failed: int = column("rows further off than .1", "failed_rows")
    device_seconds: float = column("frames at the device's rate")
    compute_seconds: float
    row_seconds: float = column("of computing, a row")
    threads: int = column("of computing")


#: Retrievals of U: `RetrieveConfig`, `RetrieveResult`.
RETRIEVE = Kind(
    "retrieve",
    RetrieveConfig,
    RetrieveResult,
    "retrievals",
    lambda r: (
        f"{r.told_share:.1%} of the rows are wrong, by held-out readings; U is not here to compare with"
        if r.error is None
        else f"median error {r.error.median:.2%}, {r.failed_share:.1%} of the rows failed"
    ),
    files=("matrix",),
    holds={"failed_share and told_share are shares": lambda r: share(r.failed_share or 0.0, r.told_share)},
    counts={"rows": (length_of("error"), lambda r: r.rows)},
)
#: Retrievals of some rows, to time one: `RowsConfig`, `RowsResult`.
ROWS = Kind(
    "rows",
    RowsConfig,
    RowsResult,
    "rows",
    lambda r: f"median error {r.median_error:.2%}, {duration(r.row_seconds)} a row",
    holds={"failed <= rows": lambda r: r.failed <= r.rows},
    counts={"rows": (length_of("error"), lambda r: r.rows)},
)
