"""Retrievals of U: of a whole device, and of a few rows to time one."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from groundglass.core.text import duration
from groundglass.results.kinds.base import Column, Kind
from groundglass.results.kinds.network import CameraSettings


@dataclass(frozen=True, kw_only=True)
class RetrieveConfig:
    """A retrieval of U.

    Attributes:
        frames, per_input: taken in all; the same in units of N.
        rows: the first so many; None for all M.
        frame_rate: frames a second.
        purpose: "price" or "period" for the network's own U, else what is varied: "queries" (frames), "noise", "bits",
            "exposure" or "method".
        period: seconds between two redraws that allow so many frames.
    """

    method: str
    settings: Mapping[str, Any]
    frames: int
    per_input: float
    in_features: int
    out_features: int
    rows: int | None
    camera: CameraSettings
    exposure_control: bool
    frame_rate: float
    seed: int
    purpose: str
    period: float | None


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
    """What a retrieval reached, and what it took.

    Attributes:
        failed_share: rows that are further off than .1.
        told_share: rows that the attacker would call wrong, by held-out readings.
        device_seconds: frames at the frame rate. measure_seconds, compute_seconds: of this machine, on `threads`.
        matrix: path of the matrix within the run folder, where it is kept.
    """

    frames: int
    complete: bool
    note: str
    rows: int
    error: RowErrors
    failed_share: float
    held_out: HeldOut
    told_share: float
    measure_seconds: float
    compute_seconds: float
    device_seconds: float
    threads: int
    matrix: str | None = None


@dataclass(frozen=True, kw_only=True)
class RowsConfig:
    """A retrieval of some rows of a large device, to time a row."""

    method: str
    settings: Mapping[str, Any]
    device_kind: str
    in_features: int
    rows: int
    frames: int
    frame_rate: float
    seed: int


@dataclass(frozen=True, kw_only=True)
class RowsResult:
    """What a row takes: `row_seconds` of computing; all rows share the frames, `device_seconds`."""

    frames: int
    rows: int
    median_error: float
    failed: int
    device_seconds: float
    compute_seconds: float
    row_seconds: float
    threads: int


RETRIEVE: Kind[RetrieveConfig, RetrieveResult] = Kind(
    "retrieve",
    RetrieveConfig,
    RetrieveResult,
    "retrievals",
    {
        "method": Column("fixed exposure, multilateration or sparse inputs", lambda e: e.config.method),
        "inputs": Column("N, input bits of the device", lambda e: e.config.in_features),
        "outputs": Column("M, readings of the device", lambda e: e.config.out_features),
        "rows": Column("of U that were retrieved", lambda e: e.result.rows),
        "frames": Column("taken, checks included", lambda e: e.result.frames),
        "frames_per_input": Column("`frames` in units of N", lambda e: e.config.per_input),
        "camera_bits": Column("depth of a reading", lambda e: e.config.camera.bits),
        "read_noise_levels": Column("std of the camera's noise, grey levels", lambda e: e.config.camera.read_noise),
        "saturated_share": Column("of calibration readings at the top value", lambda e: e.config.camera.saturation),
        "period_seconds": Column("between two redraws", lambda e: e.config.period),
        "purpose": Column("price, period, or what is varied", lambda e: e.config.purpose),
        "complete": Column("the method went to its end", lambda e: e.result.complete),
        "error_median": Column("relative error of a row", lambda e: e.result.error.median),
        "error_q10": Column("a tenth of the rows are better", lambda e: e.result.error.q10),
        "error_q90": Column("a tenth of the rows are worse", lambda e: e.result.error.q90),
        "failed_share": Column("rows further off than .1", lambda e: e.result.failed_share),
        "told_share": Column("rows that the attacker would call wrong", lambda e: e.result.told_share),
        "device_seconds": Column("frames at the device's rate", lambda e: e.result.device_seconds),
        "compute_seconds": Column("of this machine", lambda e: e.result.compute_seconds),
        "threads": Column("of computing", lambda e: e.result.threads),
    },
    line=lambda r: f"median error {r.error.median:.2%}, {r.failed_share:.1%} of the rows failed",
)
ROWS: Kind[RowsConfig, RowsResult] = Kind(
    "rows",
    RowsConfig,
    RowsResult,
    "rows",
    {
        "simulation": Column("dense, procedural or structured", lambda e: e.config.device_kind),
        "inputs": Column("N, input bits of the device", lambda e: e.config.in_features),
        "rows": Column("of U that were retrieved", lambda e: e.result.rows),
        "frames": Column("taken", lambda e: e.result.frames),
        "error_median": Column("relative error of a row", lambda e: e.result.median_error),
        "failed_rows": Column("further off than .1", lambda e: e.result.failed),
        "device_seconds": Column("frames at the device's rate", lambda e: e.result.device_seconds),
        "row_seconds": Column("of computing, a row", lambda e: e.result.row_seconds),
        "threads": Column("of computing", lambda e: e.result.threads),
    },
    line=lambda r: f"median error {r.median_error:.2%}, {duration(r.row_seconds)} a row",
)
