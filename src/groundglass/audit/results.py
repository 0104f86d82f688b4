"""What an audit found: plain facts first, then what they say."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from jaxtyping import Bool, Float, Int64
from torch import Tensor

from groundglass.audit.findings import Attempt, Check, Claim, failing
from groundglass.core.names import lookup
from groundglass.core.statistics import Proportion


@dataclass(frozen=True, kw_only=True)
class Audit:
    """What a network keeps, and what that leaves of each claim.

    Attributes:
        ball: in words.
        clean, worst: of all images: right without an attack, and under every attack. The attacks are the same whatever is
            claimed; only a claim's own view or attack, that you bring, is added to them.
        claims: each with its verdict.
        attempts: in the order in which they were made.
        checks: of the network, whatever is claimed.
        broken_by: for each image the place in `attempts` of the attack that broke it, -1 for none, -2 for an image that
            was wrong from the start.
        adversarial: the image that broke it; else the image itself. In `bounds`.
        randomised: the model's answers differ from one time to the next.
        seconds: wall time.
        earlier_seconds: of these, what sessions put into it that were cut off.
        criterion: what counts as fooled; an image that meets it as it is counts as wrong from the start.
        bounds: the range of the images.
        computed_on: the device, with the card and what drives it, see `groundglass.core.accelerator.described`.
    """

    ball: str
    clean: Proportion
    worst: Proportion
    claims: tuple[Claim, ...]
    attempts: tuple[Attempt, ...]
    checks: tuple[Check, ...]
    broken_by: Int64[Tensor, "n"]
    adversarial: Float[Tensor, "n c h w"]
    randomised: bool
    seconds: float
    earlier_seconds: float = 0.0
    criterion: str = "Untargeted()"
    bounds: tuple[float, float] = (0.0, 1.0)
    computed_on: Mapping[str, str | int] = field(default_factory=dict)

    def __repr__(self) -> str:
        return self.sentence

    def claim(self, name: str) -> Claim:
        """The claim of this name; an unknown one is refused with the nearest."""
        found: Claim = lookup("claim", name, {one.name: one for one in self.claims})
        return found

    @property
    def failed(self) -> tuple[Check, ...]:
        """Checks of the network that failed: why no figure of it can be trusted."""
        return failing(self.checks)

    @property
    def invalid(self) -> tuple[Attempt, ...]:
        """Attacks that were brought, and that left the ball or failed: they changed nothing."""
        return tuple(attempt for attempt in self.attempts if attempt.invalid)

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
    def kept(self) -> str:
        """What the network keeps, in words."""
        low, high = self.worst.interval
        against = "" if self.criterion == "Untargeted()" else f", against {self.criterion},"
        return (
            f"Within {self.ball}{against} the network keeps {self.worst.share:.1%} ({100 * low:.1f} to {100 * high:.1f}) of "
            f"{self.worst.total} images, whatever was tried; {self.clean.share:.1%} clean accuracy."
        )

    @property
    def judged(self) -> tuple[str, ...]:
        """In words: the verdict on each claim, and what is wrong with the network."""
        claims = [
            f"Claim {one.name}{'' if one.share is None else f', {one.share:.1%}'} ({one.by}): {one.told}."
            for one in self.claims
        ]
        wrong = [f"Of the network itself: {check.name} failed, {check.measured}." for check in self.failed]
        return (*claims, *wrong)

    @property
    def sentence(self) -> str:
        """What the network keeps; then a line for each claim, and what is wrong with the network."""
        return "\n".join([self.kept, *self.judged])
