"""Records of audits as the report reads them: what is left of a network's robustness figure, and why."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from groundglass.core import DamagedFileError
from groundglass.core.statistics import Proportion
from groundglass.old_report.cells import norm_name, radius
from groundglass.old_report.study import Study
from groundglass.old_report.verdict import CLEAR, MASKING
from groundglass.results.records import Record

NOT_AUDITED = "not audited"
# Of what is left: an undefended network's share, by the audit's own sentence.
_NONE = 0.05
_STATUSES = ("passed", "failed", "skipped")


@dataclass(frozen=True)
class Tried:
    """One attack on the images that those before it left.

    Attributes:
        mode: name of the gradient.
        zero_gradients: share of its gradients.
        fit: {"n_images", "held_out_r2"} of a fitted gradient, or None.
    """

    name: str
    mode: str
    role: str
    tried: int
    broke: int
    gradients: int
    forwards: int
    seconds: float
    zero_gradients: float
    fit: Mapping[str, Any] | None


@dataclass(frozen=True)
class Looked:
    """A sign of a claim that is not true, looked for. `status`: "passed", "failed" or "skipped", which is no pass."""

    name: str
    status: str
    measured: str
    threshold: str
    source: str
    advice: str


@dataclass(frozen=True)
class Found:
    """What an audit measured.

    Attributes:
        claimed_by: how the claim was made.
        stated: a robust accuracy that somebody gave, or None.
        clean, claimed, worst: of all images: right untouched, under the claim's attacks, under every attack.
    """

    claimed_by: str
    stated: float | None
    clean: Proportion
    claimed: Proportion
    worst: Proportion
    randomised: bool
    attempts: tuple[Tried, ...]
    checks: tuple[Looked, ...]
    seconds: float

    @property
    def by_paper(self) -> bool:
        """The claim is by the attacks of the paper's published code, not by the network's own gradient."""
        return self.claimed_by.startswith("the paper's")

    @property
    def lost(self) -> float:
        """Points that other attacks take off the claim."""
        return 100 * (self.claimed.share - self.worst.share)

    def of_status(self, status: str) -> tuple[Looked, ...]:
        return tuple(check for check in self.checks if check.status == status)


@dataclass(frozen=True)
class Audited:
    """The audit of one network in one ball. `found` is None where nothing could be audited; `sentence` tells why."""

    record: Record
    model: str
    norm: str
    eps: float
    eps_paper: float | None
    by_channel: bool
    verdict: str
    sentence: str
    found: Found | None

    @classmethod
    def from_record(cls, record: Record) -> "Audited":
        """Read a record of kind "audit".

        Raises:
            DamagedFileError: a field is missing, a count is impossible, or counts and verdict contradict each other;
                names the record.
        """
        config, result = record.config, record.result
        try:
            verdict, eps_paper = str(result["verdict"]), config.get("eps_paper")
            found = None if verdict == NOT_AUDITED else _found(result)
            if found is not None and verdict != (MASKING if found.of_status("failed") else CLEAR):
                raise ValueError(f"the verdict {verdict!r} is not what its checks say")
            eps = float(config["eps"])
            if not (math.isfinite(eps) and eps >= 0):
                raise ValueError(f"the radius {eps} is none")
            return cls(
                record=record,
                model=str(config["model"]),
                norm=str(config["norm"]),
                eps=round(eps, 9),
                eps_paper=None if eps_paper is None else float(eps_paper),
                by_channel=config.get("eps_per_channel") is not None,
                verdict=verdict,
                sentence=str(result["sentence"]),
                found=found,
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise DamagedFileError(
                f"the record {record.key} ({record.name}) is no audit as this version writes it: "
                f"{type(error).__name__} {error}. Rebuild the page with the version that ran the study"
            ) from error

    @property
    def ball(self) -> str:
        """ "L∞ ε = 6.38/255 (the paper's 0.05)"."""
        of_paper = f" (the paper's {self.eps_paper:g})" if self.eps_paper is not None else ""
        return f"{self.radius}{of_paper}"

    @property
    def radius(self) -> str:
        """The ball, without the paper's unit; where channels differ, the widest."""
        return f"{norm_name(self.norm)} ε {'up to' if self.by_channel else '='} {radius(self.norm, self.eps)}"

    @property
    def network(self) -> str:
        """Key of the network's record; an empty string where there is none."""
        return self.record.inputs[0] if self.record.inputs else ""

    @property
    def is_worthless(self) -> bool:
        """Hardly any image stands: whatever the checks say, there is no robustness."""
        return self.found is not None and self.found.worst.share < _NONE

    @property
    def tone(self) -> str:
        """Of its box: "good", "bad" or "open"."""
        if self.verdict == MASKING:
            return "bad"
        return "good" if self.verdict == CLEAR and not self.is_worthless else "open"


def read_audits(study: Study) -> list[Audited]:
    """Every audit, oldest first."""
    return [Audited.from_record(record) for record in study.of_kind("audit")]


def _found(result: Mapping[str, Any]) -> Found:
    clean, claimed, worst = (_proportion(result[name], name) for name in ("clean", "claimed", "worst"))
    seconds = [float(value) for value in result["timing"]["attempts"]]
    attempts = tuple(_tried(one, took) for one, took in zip(result["attempts"], seconds, strict=True))
    checks = tuple(_looked(one) for one in result["checks"])
    if not checks:
        raise ValueError("no check was made")
    if not worst.total == claimed.total == clean.total:
        raise ValueError("its shares are of different numbers of images")
    # An image is broken once: what was broken is what is gone.
    of_claim = sum(one.broke for one in attempts if one.role == "claim")
    if clean.count - of_claim != claimed.count or clean.count - sum(one.broke for one in attempts) != worst.count:
        raise ValueError("the images that its attacks broke are not those that are gone")
    stated = result["stated"]
    return Found(
        claimed_by=str(result["claimed_by"]),
        stated=None if stated is None else float(stated),
        clean=clean,
        claimed=claimed,
        worst=worst,
        randomised=bool(result["randomised"]),
        attempts=attempts,
        checks=checks,
        seconds=float(result["timing"]["seconds"]),
    )


def _proportion(part: Mapping[str, Any], name: str) -> Proportion:
    found = Proportion(int(part["count"]), int(part["total"]))
    if abs(found.share - float(part["share"])) > 1e-6:
        raise ValueError(f"`{name}` is {found.count} of {found.total}, and not {part['share']}")
    return found


def _tried(one: Mapping[str, Any], seconds: float) -> Tried:
    counts = {name: int(one[name]) for name in ("tried", "broke", "gradients", "forwards")}
    if min(counts.values()) < 0 or counts["broke"] > counts["tried"] or seconds < 0:
        raise ValueError(f"the attack {one['name']!r} broke {counts['broke']} of {counts['tried']}")
    fit = one["fit"]
    return Tried(
        name=str(one["name"]),
        mode=str(one["mode"]),
        role=str(one["role"]),
        **counts,
        seconds=seconds,
        zero_gradients=float(one["zero_gradient_share"]),
        fit=None if fit is None else {"n_images": int(fit["n_images"]), "held_out_r2": float(fit["held_out_r2"])},
    )


def _looked(one: Mapping[str, Any]) -> Looked:
    fields = ("name", "status", "measured", "threshold", "source", "advice")
    check = Looked(**{field: str(one[field]) for field in fields})
    if check.status not in _STATUSES:
        raise ValueError(f"the check {check.name!r} is {check.status!r}: neither passed nor failed nor skipped")
    return check
