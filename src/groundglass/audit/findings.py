"""What an audit finds, in plain facts: attempts, checks, claims, and the verdict on each. Imports no torch."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal

from groundglass.core.schema import left_out
from groundglass.core.statistics import Proportion
from groundglass.core.text import listed

Status = Literal["passed", "failed", "skipped"]


class Finding(StrEnum):
    """The verdict on a claim."""

    CONTRADICTED = "contradicted"
    STANDS = "not contradicted"
    #: The claim's own attack leaves no image right, or 0% is stated: there is no figure to disbelieve.
    NOTHING = "no robustness claimed"
    #: The claim's own attack is invalid: there is no figure.
    UNMEASURED = "not measured"


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One attack on the images that the attacks before it left.

    Attributes:
        name: "PGD, dfa".
        attack, mode: of it.
        role: "base" (the gradients that every such network is attacked with; on all images that are right), "control" (noise
            and one step: no claim should be weaker), "adaptive" (knows the defence), "stronger" (same gradient, more
            effort), "queries", "transfer", "given" (brought by the user), or "claim" (an attack that a claim is made
            with, and that is none of these).
        tried: images it was tried on.
        broke: of them, those that stood before.
        fooled: of them; None where it was tried on what stood alone, and is `broke`.
        gradients: images that went forward and backward.
        forwards: images that went forward only.
        seconds: wall time; a record keeps it apart from what the seed decides.
        zero_gradient_share: of its gradients.
        fit: what a fitted gradient took and reached.
        invalid: why nothing that it made counts; empty if it is valid.
    """

    name: str
    attack: str
    mode: str
    role: str
    tried: int
    broke: int
    gradients: int
    forwards: int
    seconds: float = left_out(0.0)
    zero_gradient_share: float = 0.0
    fit: dict[str, Any] | None = None
    fooled: int | None = left_out(None)
    invalid: str = left_out("")


@dataclass(frozen=True, kw_only=True)
class Check:
    """A sign of a claim that is not true, or of a network that cannot be judged, looked for.

    Attributes:
        name: in a few words.
        status: "skipped" is not a pass: the reason is in `measured`.
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
class Claim:
    """A robustness claim, and what speaks against it.

    Attributes:
        name: "own", "dfa-fresh+fa", the name of a view or an attack, or "stated".
        by: how it was measured.
        figure: accuracy under the claim's attacks, image by image; None where it is stated, or could not be measured.
        stated: the share that somebody states.
        checks: in the order of the list that they are from.
    """

    name: str
    by: str
    figure: Proportion | None
    stated: float | None = None
    checks: tuple[Check, ...] = ()

    @property
    def share(self) -> float | None:
        """What is claimed, of all images."""
        return self.stated if self.figure is None else self.figure.share

    @property
    def failed(self) -> tuple[Check, ...]:
        """What contradicts it; what says most comes first."""
        return tuple(sorted((c for c in self.checks if c.status == "failed"), key=_telling))

    @property
    def skipped(self) -> tuple[Check, ...]:
        return tuple(check for check in self.checks if check.status == "skipped")

    @property
    def verdict(self) -> Finding:
        if self.share is None:
            return Finding.UNMEASURED
        if self.share == 0:
            return Finding.NOTHING
        return Finding.CONTRADICTED if self.failed else Finding.STANDS

    @property
    def told(self) -> str:
        """The verdict, with the checks that it rests on."""
        if self.verdict is Finding.CONTRADICTED:
            names = [f"'{check.name}'" for check in self.failed]
            few = names if len(names) <= 4 else [*names[:3], f"{len(names) - 3} more"]
            return f"{self.verdict}: {listed(few)}"
        if self.verdict is Finding.STANDS:
            ran = len(self.checks) - len(self.skipped)
            plural = "check" if ran == 1 else "checks"
            return f"{self.verdict} by the {ran} {plural} that ran ({len(self.skipped)} skipped)"
        return self.verdict.value


#: Of these checks the network is the subject, not a claim.
OF_NETWORK = (
    "inputs and outputs",
    "same answer every time",
    "same answer in any batch",
    "loss moves around the images",
    "adversarial images hold",
)


def failing(checks: Sequence[Check]) -> tuple[Check, ...]:
    """Those of some checks that failed."""
    return tuple(check for check in checks if check.status == "failed")


def _telling(check: Check) -> int:
    first = ("claim stands", "stated figure", "adaptive", "gradients no weaker", "gradient")
    return next((place for place, start in enumerate(first) if check.name.startswith(start)), len(first))
