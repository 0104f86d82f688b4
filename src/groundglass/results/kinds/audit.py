"""Audits of a network, and checks over the records of a study."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from groundglass.audit.findings import OF_NETWORK, Attempt, Check, Claim, failing
from groundglass.core.schema import left_out
from groundglass.core.statistics import Proportion
from groundglass.results.kinds.attack import BallConfig
from groundglass.results.kinds.base import Kind, column, derives, length_of, through

#: The verdict on a network that gets no image right.
NOT_AUDITED = "not audited"


@dataclass(frozen=True, kw_only=True)
class AuditedConfig(BallConfig):
    """An audit of one network; `settings` are those of `groundglass.audit.AuditConfig`, `claims` those that were named: none for
    the claims of the network's kind."""

    model: str = column("name of the audited network", "network")
    n_images: int
    settings: Mapping[str, Any]
    seed: int
    claims: tuple[str, ...] = left_out(())


@dataclass(frozen=True, kw_only=True)
class FileAuditConfig(AuditedConfig):
    """An audit of a file or a factory: digests of the network and of the files, and the attacks that were brought."""

    network: str
    files: tuple[str, ...]
    attacks: tuple[str, ...] = left_out(())
    arguments: tuple[str, ...] = left_out(())


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Seconds of the whole, and of each attempt."""

    seconds: float
    attempts: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class AuditResult:
    """What an audit found; see `groundglass.audit.Audit`. Where nothing could be audited all is empty but `sentence`, the reason.

    Records of older versions have one claim, `claimed` by `claimed_by` or `stated`, and its checks among those of the network.
    Their `verdict` and `sentence` are what was said then; the claim is judged anew by its checks (`each`).

    Attributes:
        perhaps_seen: the images are all of a file or folder without a test split, and nothing says whether the network was
            trained on them.
    """

    ball: str | None = None
    clean: Proportion | None = None
    worst: Proportion | None = None
    claims: tuple[Claim, ...] = ()
    randomised: bool = False
    attempts: tuple[Attempt, ...] = ()
    checks: tuple[Check, ...] = ()
    timing: Timing | None = None
    verdict: str = left_out("")
    sentence: str = left_out("")
    claimed_by: str | None = left_out(None)
    stated: float | None = left_out(None)
    claimed: Proportion | None = left_out(None)
    perhaps_seen: bool = left_out(False)

    @property
    def older(self) -> bool:
        """Of a version of which an audit began with the attacks of its one claim."""
        return not self.claims and self.claimed is not None

    @property
    def each(self) -> tuple[Claim, ...]:
        """The claims. Of an older record the one that it has, and the stated figure as another."""
        if not self.older or self.claimed is None:
            return self.claims
        own = [check for check in self.checks if check.name not in OF_NETWORK]
        of_stated = tuple(check for check in own if check.name.startswith("stated"))
        of_claim = tuple(check for check in own if check not in of_stated)
        by = self.claimed_by or ""
        modes = dict.fromkeys(attempt.mode for attempt in self.attempts if attempt.role == "claim")
        found = [Claim(name="+".join(modes) or by, by=by, figure=self.claimed, checks=of_claim)]
        if self.stated is not None:
            found.append(Claim(name="stated", by="stated", figure=None, stated=self.stated, checks=of_stated))
        return tuple(found)

    @property
    def of_network(self) -> tuple[Check, ...]:
        """The checks of the network, whatever is claimed."""
        return tuple(check for check in self.checks if check.name in OF_NETWORK)

    @property
    def failed(self) -> tuple[Check, ...]:
        """Of the checks of the network those that failed."""
        return failing(self.of_network)

    @property
    def first(self) -> Claim | None:
        """The claim that is shown where there is room for one: of a defended network the paper's."""
        return self.each[0] if self.each else None

    @derives("each claim and its verdict, by today's rule, whatever version made the record", "verdict")
    def judged(self) -> str:
        return "; ".join(f"{claim.name}: {claim.verdict}" for claim in self.each) or NOT_AUDITED

    claim = through("first.name", "the first claim, by the attacks that it is made with", "claim")
    n_images = through("clean.total", "images audited")
    share_clean = through("clean", "share right without an attack", "clean_accuracy", share=True)
    share_claimed = through("first.figure", "accuracy under the attacks of the first claim", "claimed", share=True)
    share_worst = through("worst", "share right whatever was tried, image by image", "worst_case", share=True)

    @derives("how many, of the network and of the first claim")
    def failed_checks(self) -> int:
        return len(self.failed) + len(self.first.failed if self.first else ())

    @derives("how many, of the first claim")
    def skipped_checks(self) -> int:
        return len(self.first.skipped if self.first else ())


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
    """At least one image: else nothing was audited."""
    if r.clean is None or r.worst is None:
        return r.clean is r.worst is None and not r.each
    counted = [r.clean, r.worst, *(claim.figure for claim in r.each if claim.figure is not None)]
    if len({one.total for one in counted}) > 1:
        return False
    return all(r.worst.count <= one.count <= r.clean.count for one in counted)


#: Audits of a network: `AuditedConfig`, `AuditResult`.
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
#: Checks over the records of a study: `CheckConfig`, `CheckResult`.
CHECK = Kind(
    "check", CheckConfig, CheckResult, "checks", lambda r: "passed" if r.passed else f"FAILED; expected: {r.expected}"
)
