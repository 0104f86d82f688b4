"""Audits of a network, and checks over the records of a study."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from groundglass.audit.findings import Attempt, Check, judged
from groundglass.core.statistics import Proportion
from groundglass.results.kinds.attack import BallConfig
from groundglass.results.kinds.base import Kind, column, derives, length_of, through

#: The verdict on a network that gets no image right.
NOT_AUDITED = "not audited"


@dataclass(frozen=True, kw_only=True)
class AuditedConfig(BallConfig):
    """An audit of one network; `settings` are those of `groundglass.audit.AuditConfig`."""

    model: str = column("name of the audited network", "network")
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

    @derives("verdict by today's rule, whatever version made the record", "verdict")
    def judged(self) -> str:
        if self.claimed is None:
            return NOT_AUDITED
        return judged(self.claimed, self.checks)

    @property
    def failed(self) -> tuple[Check, ...]:
        return tuple(check for check in self.checks if check.status == "failed")

    @property
    def skipped(self) -> tuple[Check, ...]:
        return tuple(check for check in self.checks if check.status == "skipped")

    n_images = through("clean.total", "images audited")
    share_clean = through("clean", "share right without an attack", "clean_accuracy", share=True)
    share_claimed = through("claimed", "accuracy under the attacks of the claim", "claimed", share=True)
    share_worst = through("worst", "share right whatever was tried, image by image", "worst_case", share=True)

    @derives("how many")
    def failed_checks(self) -> int:
        return len(self.failed)

    @derives("how many")
    def skipped_checks(self) -> int:
        return len(self.skipped)


@dataclass(frozen=True, kw_only=True)
class CheckConfig:
    """A check by its name."""

    check: str = column("its name")


@dataclass(frozen=True, kw_only=True)
class CheckResult:
    """What a check found in the records of a study. `value`: by name; of a check that failed, what is wrong."""

    passed: bool = column("no sign of a claim that is not true")
    value: Mapping[str, Any]
    expected: str = column("what a study that can be believed shows")


def _shrinks(r: AuditResult) -> bool:
    """At least one: else nothing was audited."""
    if r.clean is None or r.claimed is None or r.worst is None:
        return r.clean is r.claimed is r.worst is None
    total = r.clean.total
    return r.worst.count <= r.claimed.count <= r.clean.count and total == r.claimed.total == r.worst.total


AUDIT = Kind(
    "audit",
    AuditedConfig,
    AuditResult,
    "audits",
    lambda r: r.judged,
    holds={
        "worst <= claimed <= clean, of the same images": _shrinks,
        "no attack broke more than it was tried on": lambda r: all(a.broke <= a.tried for a in r.attempts),
    },
    counts={
        "images": (length_of("broken_by"), lambda r: r.clean and r.clean.total),
        "images that stand": (lambda a: int((a["broken_by"] == -1).sum()), lambda r: r.worst and r.worst.count),
        "images right at first": (lambda a: int((a["broken_by"] != -2).sum()), lambda r: r.clean and r.clean.count),
    },
)
CHECK = Kind(
    "check", CheckConfig, CheckResult, "checks", lambda r: "passed" if r.passed else f"FAILED: not {r.expected}"
)
