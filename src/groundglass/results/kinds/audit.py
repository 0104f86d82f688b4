"""Audits of a network, and checks over the records of a study."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from groundglass.audit.findings import Attempt, Check, judged
from groundglass.core.statistics import Proportion
from groundglass.results.kinds.base import Column, Kind, share_columns

#: The verdict on a network that gets no image right.
NOT_AUDITED = "not audited"


@dataclass(frozen=True, kw_only=True)
class AuditedConfig:
    """An audit of one network; `settings` are those of `groundglass.audit.AuditConfig`."""

    model: str
    norm: str
    eps: float
    eps_per_channel: tuple[float, ...] | None
    eps_paper: float | None
    n_images: int
    settings: Mapping[str, Any]
    seed: int


@dataclass(frozen=True, kw_only=True)
class FileAuditConfig(AuditedConfig):
    """An audit of a file or a factory: digests of the network and of the files, and the figure that somebody states."""

    network: str
    files: tuple[str, ...]
    claimed: float | None


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Seconds of the whole, and of each attempt."""

    seconds: float
    attempts: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class AuditResult:
    """What an audit found; see `groundglass.audit.Audit`. All but the sentence is None where nothing could be audited."""

    verdict: str
    sentence: str
    ball: str | None = None
    claimed_by: str | None = None
    stated: float | None = None
    clean: Proportion | None = None
    claimed: Proportion | None = None
    worst: Proportion | None = None
    randomised: bool = False
    attempts: tuple[Attempt, ...] = ()
    checks: tuple[Check, ...] = ()
    timing: Timing | None = None

    @property
    def judged(self) -> str:
        """The verdict by today's rule, whatever version made the record."""
        if self.claimed is None:
            return NOT_AUDITED
        return judged(self.claimed, self.checks)

    @property
    def failed(self) -> tuple[Check, ...]:
        return tuple(check for check in self.checks if check.status == "failed")

    @property
    def skipped(self) -> tuple[Check, ...]:
        return tuple(check for check in self.checks if check.status == "skipped")


@dataclass(frozen=True, kw_only=True)
class CheckConfig:
    """A check by its name."""

    check: str


@dataclass(frozen=True, kw_only=True)
class CheckResult:
    """What a check found in the records of a study.

    Attributes:
        passed: no sign of a claim that is not true.
        value: what was found, by name; of a check that failed, what is wrong.
        expected: what a study that can be believed shows.
    """

    passed: bool
    value: Mapping[str, Any]
    expected: str


AUDIT: Kind[AuditedConfig, AuditResult] = Kind(
    "audit",
    AuditedConfig,
    AuditResult,
    "audits",
    {
        "network": Column("name of the audited network", lambda e: e.config.model),
        "norm": Column("linf or l2", lambda e: e.config.norm),
        "radius": Column("of the ball, of images in [0, 1]", lambda e: round(e.config.eps, 9)),
        "radius_paper": Column("the same on the paper's axis", lambda e: e.config.eps_paper),
        "per_channel": Column("the box differs by channel", lambda e: e.config.eps_per_channel is not None),
        "n_images": Column("audited", lambda e: e.result.clean and e.result.clean.total),
        **share_columns("clean_accuracy", "right without an attack", lambda e: e.result.clean),
        **share_columns("claimed", "accuracy under the attacks of the claim", lambda e: e.result.claimed),
        **share_columns("worst_case", "right whatever was tried, image by image", lambda e: e.result.worst),
        "verdict": Column("in words", lambda e: e.result.judged),
        "failed_checks": Column("how many", lambda e: len(e.result.failed)),
        "skipped_checks": Column("how many", lambda e: len(e.result.skipped)),
        "attempts": Column("attacks that were tried", lambda e: len(e.result.attempts)),
    },
    line=lambda r: r.judged,
)
CHECK: Kind[CheckConfig, CheckResult] = Kind(
    "check",
    CheckConfig,
    CheckResult,
    "checks",
    {
        "check": Column("its name", lambda e: e.config.check),
        "passed": Column("no sign of a claim that is not true", lambda e: e.result.passed),
        "expected": Column("what a study that can be believed shows", lambda e: e.result.expected),
    },
    line=lambda r: "passed" if r.passed else f"FAILED: not {r.expected}",
)
