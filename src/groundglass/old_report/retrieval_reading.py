"""Records of retrievals as the report reads them."""

from dataclasses import dataclass

from groundglass.core import DamagedFileError
from groundglass.old_report.study import Study
from groundglass.results.records import Record

PURPOSE, RETRIEVED = "retrieval", "bpda-retrieved"
_CHECKS = ("held-out readings tell the truth", "a retrieved U beats a drawn one")
# Of the rows: an error above this is a row that was not found.
FAILED = 0.1


@dataclass(frozen=True)
class Readings:
    """Held-out readings in grey levels, the median over rows: how far off the attacker's prediction is.

    Attributes:
        off: with the retrieved rows.
        chance: with a wrong row.
        noise: of the reading itself, as far as repeated frames show it.
    """

    off: float
    chance: float
    noise: float


@dataclass(frozen=True)
class Retrieval:
    """One retrieval of a matrix, N inputs and M outputs.

    Attributes:
        purpose: "price", "period", "queries", "noise", "bits", "exposure" or "method".
        frames: taken, checks included; `planned`: those that it set out to take.
        rows: how many rows of U came out; with none there is no error.
        median, worst: relative row errors; None without rows.
        failed: share of the rows with an error above `FAILED`; None without rows.
        told: share of the rows that the attacker himself finds to be wrong.
        period: seconds between redraws, of the purpose "period".
    """

    record: Record
    name: str
    method: str
    purpose: str
    n: int
    m: int
    frames: int
    planned: int
    rows: int
    median: float | None
    worst: float | None
    failed: float | None
    told: float | None
    readings: Readings | None
    complete: bool
    note: str
    device_seconds: float
    compute_seconds: float
    threads: int
    frame_rate: float
    exposure_control: bool
    bits: int | None
    saturation: float
    read_noise: float
    period: float | None

    @classmethod
    def from_record(cls, record: Record) -> "Retrieval":
        """Read a record of kind "retrieve".

        Raises:
            DamagedFileError: a field is missing or impossible; names the record.
        """
        config, result = record.config, record.result
        try:
            camera, rows = config["camera"], int(result["rows"])
            error, held_out = (result[field] if rows else {} for field in ("error", "held_out"))
            one = cls(
                record=record,
                name=record.name,
                method=str(config["method"]),
                purpose=str(config["purpose"]),
                n=int(config["in_features"]),
                m=int(config["out_features"]),
                frames=int(result["frames"]),
                planned=int(config["frames"]),
                rows=rows,
                median=float(error["median"]) if rows else None,
                worst=float(error["max"]) if rows else None,
                failed=float(result["failed_share"]) if rows else None,
                told=float(result["told_share"]) if rows else None,
                readings=Readings(*(float(held_out[f]) for f in ("median", "chance", "noise"))) if rows else None,
                complete=bool(result["complete"]),
                note=str(result.get("note") or ""),
                device_seconds=float(result["device_seconds"]),
                compute_seconds=float(result["compute_seconds"]),
                threads=int(result["threads"]),
                frame_rate=float(config["frame_rate"]),
                exposure_control=bool(config["exposure_control"]),
                bits=None if camera["bits"] is None else int(camera["bits"]),
                saturation=float(camera["saturation"]),
                read_noise=float(camera["read_noise"]),
                period=None if config.get("period") is None else float(config["period"]),
            )
            one._refuse_the_impossible()
        except (KeyError, TypeError, ValueError) as error_:
            raise DamagedFileError(
                f"the record {record.key} ({record.name}) is no retrieval as this version writes it: "
                f"{type(error_).__name__} {error_}. Rebuild the page with the version that ran the study"
            ) from error_
        return one

    def _refuse_the_impossible(self) -> None:
        if min(self.n, self.m, self.frames, self.planned) < 1 or self.frame_rate <= 0:
            raise ValueError(f"a retrieval of {self.m} x {self.n} from {self.frames} frames at {self.frame_rate:g} Hz")
        if not 0 <= self.rows <= self.m:
            raise ValueError(f"{self.rows} rows of {self.m}")
        if any(share is not None and not 0 <= share <= 1 for share in (self.failed, self.told)):
            raise ValueError(f"failed_share {self.failed} and told_share {self.told} must be shares")
        if min(self.median or 0.0, self.device_seconds, self.compute_seconds) < 0:
            raise ValueError("a negative error or time")
        if self.purpose == "period" and self.period is None:
            raise ValueError("no period")

    @property
    def per_input(self) -> float:
        return self.frames / self.n

    @property
    def times_n(self) -> str:
        """ "12 N", "3.9 N"."""
        return f"{self.per_input:.3g} N"


def read_retrievals(study: Study) -> list[Retrieval]:
    """Every retrieval; sizes rising, then frames.

    Raises:
        DamagedFileError: a record that cannot be read.
    """
    found = [Retrieval.from_record(record) for record in study.of_kind("retrieve")]
    return sorted(found, key=lambda r: (r.n, r.m, r.frames, r.name))


def retrieval_checks(study: Study) -> list[Record]:
    """The checks of the retrievals and of the attacks with what came out of them."""
    return [check for check in study.of_kind("check") if check.name in _CHECKS]


def has_retrieved(study: Study) -> bool:
    """Whether a network was attacked with a matrix that was retrieved from its device."""
    return any(record.config.get("rule") == RETRIEVED for record in study.of_kind("attack"))
