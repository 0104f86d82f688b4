"""What an audit found: plain facts first, then what they say."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from jaxtyping import Bool, Float, Int64
from torch import Tensor

from groundglass.core.statistics import Proportion

MASKING = "likely gradient masking"
CLEAR = "no sign of masking"
# Of what is left: an undefended network's share.
_NONE = 0.05

Status = Literal["passed", "failed", "skipped"]


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One attack on the images that the attacks before it left.

    Attributes:
        name: "PGD, dfa".
        attack, mode: of it.
        role: "claim", "control" (must not beat the claim), "adaptive", "stronger" (same gradient, more effort),
            "queries", "transfer" or "given".
        tried: images it was tried on.
        broke: of them.
        gradients: images that went forward and backward.
        forwards: images that went forward only.
        seconds: wall time.
        zero_gradient_share: of its gradients.
        fit: what a fitted gradient took and reached.
    """

    name: str
    attack: str
    mode: str
    role: str
    tried: int
    broke: int
    gradients: int
    forwards: int
    seconds: float
    zero_gradient_share: float = 0.0
    fit: dict[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class Check:
    """A sign of a claim that is not true, looked for.

    Attributes:
        name: in a few words.
        status: "skipped" is no pass: the reason is in `measured`.
        measured: what was found.
        threshold: what a claim that can be believed shows.
        source: where the check is from.
        advice: what to try next; empty when it passed.
    """

    name: str
    status: Status
    measured: str
    threshold: str
    source: str
    advice: str = ""


@dataclass(frozen=True, kw_only=True)
class Audit:
    """A robustness claim, and what is left of it.

    Attributes:
        ball: in words.
        claimed_by: how the claim was made.
        stated: the figure that was given, if one was.
        clean, claimed, worst: of all images: right untouched, under the claim's attacks, under every attack.
        attempts: in the order in which they were made.
        checks: in the order of the list that they are from.
        broken_by: for each image the place in `attempts` of the attack that broke it, -1 for none, -2 for an image that
            was wrong from the start.
        adversarial: the image that broke it; else the image itself.
        randomised: the model's answers differ from one time to the next.
        seconds: wall time.
        earlier_seconds: of these, what sessions put into it that were cut off.
    """

    ball: str
    claimed_by: str
    stated: float | None
    clean: Proportion
    claimed: Proportion
    worst: Proportion
    attempts: tuple[Attempt, ...]
    checks: tuple[Check, ...]
    broken_by: Int64[Tensor, "n"]
    adversarial: Float[Tensor, "n c h w"]
    randomised: bool
    seconds: float
    earlier_seconds: float = 0.0

    @property
    def failed(self) -> tuple[Check, ...]:
        return tuple(check for check in self.checks if check.status == "failed")

    @property
    def skipped(self) -> tuple[Check, ...]:
        return tuple(check for check in self.checks if check.status == "skipped")

    @property
    def verdict(self) -> str:
        """`MASKING` or `CLEAR`."""
        return MASKING if self.failed else CLEAR

    @property
    def robust(self) -> Bool[Tensor, "n"]:
        """Right, whatever was tried."""
        return self.broken_by == -1

    @property
    def strongest(self) -> Attempt | None:
        """The attempt after which no other broke anything."""
        breaking = [attempt for attempt in self.attempts if attempt.broke]
        return breaking[-1] if breaking else None

    @property
    def sentence(self) -> str:
        """The verdict with its figures, in words."""
        low, high = self.worst.interval
        found = (
            f"Robust accuracy within {self.ball}: {self.claimed.share:.1%} under {self.claimed_by}, {self.worst.share:.1%} "
            f"({100 * low:.1f} to {100 * high:.1f}) under the strongest attacks here, of {self.worst.total} images, "
            f"{self.clean.share:.1%} of them right untouched"
        )
        if not self.failed:
            return f"{found}: {CLEAR}{', and no robustness' if self.worst.share < _NONE else ''}."
        names = [f"'{check.name}'" for check in sorted(self.failed, key=_telling)]
        told = names if len(names) <= 4 else [*names[:3], f"{len(names) - 3} more"]
        return f"{found}: {MASKING}; failed: {listed(told)}."

    def to_plain(self) -> dict[str, Any]:
        """JSON; what there is for each image is in `broken_by` and `adversarial`."""
        share = {
            name: {"count": p.count, "total": p.total, "share": p.share, "interval": list(p.interval)}
            for name, p in (("clean", self.clean), ("claimed", self.claimed), ("worst", self.worst))
        }
        return {
            "verdict": self.verdict,
            "sentence": self.sentence,
            "ball": self.ball,
            "claimed_by": self.claimed_by,
            "stated": self.stated,
            **share,
            "randomised": self.randomised,
            "attempts": [
                {name: value for name, value in asdict(attempt).items() if name != "seconds"}
                for attempt in self.attempts
            ],
            "checks": [asdict(check) for check in self.checks],
            # Apart from what a seed decides.
            "timing": {"seconds": round(self.seconds, 2), "attempts": [attempt.seconds for attempt in self.attempts]},
        }


def _telling(check: Check) -> int:
    """What says most comes first."""
    first = ("claim stands", "stated figure", "adaptive", "gradients no weaker", "same answer", "gradient")
    return next((place for place, start in enumerate(first) if check.name.startswith(start)), len(first))


def listed(names: Sequence[str]) -> str:
    """a, b and c."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
