"""What an audit found: plain facts first, then what they say."""

from dataclasses import dataclass

from jaxtyping import Bool, Float, Int64
from torch import Tensor

from groundglass.audit.findings import CLEAR, MASKING, Attempt, Check, judged
from groundglass.core.statistics import Proportion
from groundglass.core.text import listed

# Of what is left: an undefended network's share.
_NONE = 0.05


@dataclass(frozen=True, kw_only=True)
class Audit:
    """A robustness claim, and what is left of it.

    Attributes:
        ball: in words.
        claimed_by: how the claim was made.
        stated: the figure that was given, if one was.
        clean, claimed, worst: of all images: right without an attack, under the claim's attacks, under every attack.
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
        """`MASKING`, `CLEAR`, or `NOTHING` over a claim of 0%."""
        return judged(self.claimed, self.checks)

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
            f"{self.clean.share:.1%} clean accuracy"
        )
        if self.verdict == CLEAR:
            return f"{found}: {CLEAR}{', and no robustness' if self.worst.share < _NONE else ''}."
        if self.verdict != MASKING:
            return f"{found}: {self.verdict}."
        names = [f"'{check.name}'" for check in sorted(self.failed, key=_telling)]
        told = names if len(names) <= 4 else [*names[:3], f"{len(names) - 3} more"]
        return f"{found}: {MASKING}; failed: {listed(told)}."


def _telling(check: Check) -> int:
    """What says most comes first."""
    first = ("claim stands", "stated figure", "adaptive", "gradients no weaker", "same answer", "gradient")
    return next((place for place, start in enumerate(first) if check.name.startswith(start)), len(first))
